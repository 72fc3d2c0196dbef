"""Playlists and segments over HTTP. They are in memory: no URL leads to a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive

from daemon.monitoring.status import Board
from daemon.sinks.playlist import KEPT, Playlist
from daemon.web.live import ClientLimit, until_left
from daemon.web.missing import missing

PLAYLIST = "index.m3u8"
PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MEDIA_TYPE = "video/mp4"
# Players stay three segments behind the last; Chromium's own gives up where it finds fewer.
START_SEGMENTS = 3
START_S = 7.0  # beside their length, how long a reader waits: encoding starts once it asks
_POLL_S = 0.1


class Hls:
    """The answers below /streams/NAME/hls/. `playlists` is read at every request; `waiting` limits
    the readers who wait for a playlist's first segments."""

    def __init__(
        self, playlists: Mapping[str, Playlist], board: Board, waiting: ClientLimit
    ) -> None:
        self._playlists = playlists
        self._board = board
        self._waiting = waiting

    def routes(self) -> list[Route]:
        return [
            Route(f"/streams/{{name}}/hls/{PLAYLIST}", self.playlist),
            Route("/streams/{name}/hls/{file}", self.media),
        ]

    def path(self, name: str) -> str | None:
        """Where the playlist of a stream is; None if it has no hls sink."""
        return f"/streams/{name}/hls/{PLAYLIST}" if name in self._playlists else None

    async def playlist(self, request: Request) -> Response:
        playlist, name = self._of(request), request.path_params["name"]
        # Players use the playlist's URLs as they are: one that came with the token in its URL has
        # no other way to send it for the segments.
        token = request.query_params.get("token")
        query = f"?token={quote(token, safe='')}" if token else ""
        text = _begun(playlist, query)
        # The page's players ask again by themselves. A browser opens six connections to a host: if
        # that many waited here, none would be left for the states.
        may_wait = request.query_params.get("wait") != "0"
        if text is None and may_wait:
            text = await self._wait(playlist, query, request.receive)
        if text is not None:
            return Response(text, media_type=PLAYLIST_TYPE, headers={"Cache-Control": "no-store"})
        why = self._why_down(name)
        if may_wait or why:
            detail = why or f"stream {name!r} has no pictures to show yet; try again"
            raise HTTPException(503, detail, {"Retry-After": "2"})
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _wait(self, playlist: Playlist, query: str, receive: Receive) -> str | None:
        """The playlist once players can start; None if that takes too long, or the reader (the
        client of `receive`) leaves or is sent away. Raises HTTPException if too many wait."""
        with self._waiting.place() as free:
            if not free:
                raise self._waiting.full()
            first = asyncio.ensure_future(_first(playlist, query))
            await self._waiting.read(first, asyncio.ensure_future(until_left(receive)))
        return None if first.cancelled() else first.result()

    def _why_down(self, name: str) -> str:
        stream = self._board.stream(name)
        if stream is None or stream.state != "down" or stream.reason is None:
            return ""
        return f"stream {name!r} is down: {stream.reason}"

    async def media(self, request: Request) -> Response:
        content = self._of(request).file(request.path_params["file"])
        if content is None:
            raise HTTPException(404, f"no segment of that name; the last {KEPT} are kept")
        # No name is ever used again.
        headers = {"Cache-Control": "private, max-age=60, immutable"}
        return Response(content, media_type=MEDIA_TYPE, headers=headers)

    def _of(self, request: Request) -> Playlist:
        name = request.path_params["name"]
        playlist = self._playlists.get(name)
        if playlist is None:
            raise missing(self._board, name, "hls", self._playlists)
        return playlist


async def _first(playlist: Playlist, query: str) -> str | None:
    """The playlist once players can start with it; None if that takes too long."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    while (text := _begun(playlist, query)) is None:
        if loop.time() - began_s > START_S + START_SEGMENTS * playlist.target_s:
            break
        await asyncio.sleep(_POLL_S)
    return text


def _begun(playlist: Playlist, query: str) -> str | None:
    """The playlist if players can start with it."""
    text = playlist.text(query) or ""
    return text if text.count("#EXTINF:") >= START_SEGMENTS else None
