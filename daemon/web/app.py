"""What the daemon shows over HTTP: the page, metrics, health, states, pictures and readings."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client.exposition import choose_encoder
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from daemon.config.settings import COLOURS, DaemonSettings
from daemon.ladder import Ladder
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.monitoring.status import Board, SinkStatus, StreamStatus
from daemon.reading import FaceView, Reading, utc
from daemon.sinks.feed import Feed, JpegFeed
from daemon.sinks.shown import Shown
from daemon.web.access import Access, Guard, Origins
from daemon.web.hls import Hls
from daemon.web.live import (
    EVENTS_TYPE,
    MJPEG_TYPE,
    PICTURES_TYPE,
    ClientLimit,
    events,
    mjpeg,
    pictures,
    still,
)
from daemon.web.missing import missing

PAGE = Path(__file__).parent / "page"
MAX_READERS = 32
# A browser that opens a picture alone wraps it in a page of its own, with an inline style.
_PICTURE_POLICY = (
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'none'"
)
_PAGE_TYPES = {
    ".html": "text/html",
    ".js": "text/javascript",
    ".css": "text/css",
    ".svg": "image/svg+xml",
}


@dataclass(frozen=True)
class Site:
    """The application, and what `WebServer` needs of it: the guard, the limits that hold the
    current readers, and the event that ends all reading."""

    app: Starlette
    health: Health
    guard: Guard
    clients: Sequence[ClientLimit]
    closing: asyncio.Event


def make_site(
    board: Board,
    metrics: Metrics,
    health: Health,
    shown: Shown,
    readings: Feed[Reading],
    settings: DaemonSettings,
    version: str,
    *,
    colours: Mapping[str, str] = COLOURS,
    max_readers: int = MAX_READERS,
) -> Site:
    """What `WebServer` serves.

    `shown` is read at every request, so a reload may change it. At most `max_readers` read
    pictures at once, as many events, and as many wait for the first segments of a playlist.
    """
    closing = asyncio.Event()
    guard = Guard(settings)
    web = _Web(
        board=board,
        metrics=metrics,
        health=health,
        jpeg_feeds=shown.jpegs,
        hls=Hls(shown.playlists, board, ClientLimit(max_readers, closing)),
        readings=readings,
        version=version,
        colours=colours,
        picture_clients=ClientLimit(max_readers, closing),
        event_clients=ClientLimit(max_readers, closing),
    )
    app = Starlette(
        routes=web.routes(),
        middleware=[Middleware(Origins, guard=guard), Middleware(Access, guard=guard)],
        exception_handlers={HTTPException: _error},
    )
    return Site(app, health, guard, (web.picture_clients, web.event_clients), closing)


@dataclass(frozen=True)
class _Web:
    """The request handlers. They run on the web server's event loop, and only read what other
    threads write."""

    board: Board
    metrics: Metrics
    health: Health
    jpeg_feeds: Mapping[str, JpegFeed]
    hls: Hls
    readings: Feed[Reading]
    version: str
    colours: Mapping[str, str]
    picture_clients: ClientLimit
    event_clients: ClientLimit

    def routes(self) -> list[Route]:
        return [
            *_page_routes(),
            Route("/metrics", self.scrape),
            Route("/livez", self.livez),
            Route("/readyz", self.readyz),
            Route("/api/streams", self.streams),
            Route("/api/pictures", self.pictures),
            Route("/streams/{name}/mjpeg", self.mjpeg),
            Route("/streams/{name}/jpeg", self.jpeg),
            *self.hls.routes(),
            Route("/events", self.events),
        ]

    async def scrape(self, request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(self.metrics.registry), headers={"Content-Type": content_type})

    async def livez(self, request: Request) -> Response:
        return _verdict(*self.health.is_alive())

    async def readyz(self, request: Request) -> Response:
        return _verdict(*self.health.is_ready(self.board.streams()))

    async def streams(self, request: Request) -> Response:
        now_s = time.time()
        states = [self._state(stream, now_s) for stream in self.board.streams()]
        body = {
            "version": self.version,
            "build": build_info(self.metrics),
            "models_loaded": self.health.models_loaded,
            "load": _load(self.board.ladder),
            "colours": dict(self.colours),
            "streams": states,
        }
        return JSONResponse(body, headers={"Cache-Control": "no-store"})

    def _state(self, stream: StreamStatus, now_s: float) -> dict[str, Any]:
        noted_s, frame_s = stream.last_error_s, stream.last_frame_s
        has_pictures = stream.name in self.jpeg_feeds
        return {
            "name": stream.name,
            "state": stream.state,
            "since": utc(stream.since_s),
            "for_s": _ago(stream.since_s, now_s),
            "reason": stream.reason,
            "last_error": stream.last_error,
            "last_error_at": utc(noted_s),
            "last_error_ago_s": None if noted_s is None else _ago(noted_s, now_s),
            "last_frame_at": utc(frame_s),
            "last_frame_ago_s": None if frame_s is None else _ago(frame_s, now_s),
            "frames": stream.frames,
            "fps": round(stream.fps, 2),
            "detect_every": stream.detect_every,
            "faces": None if stream.only_counts else [_face(face) for face in stream.faces],
            "sinks": [_sink(sink, now_s) for sink in stream.sinks],
            "mjpeg": f"/streams/{stream.name}/mjpeg" if has_pictures else None,
            "hls": self.hls.path(stream.name),
        }

    async def pictures(self, request: Request) -> Response:
        name = request.query_params.get("stream")
        feeds = dict(self.jpeg_feeds) if name is None else {name: self._jpeg_feed(name)}
        return self.picture_clients.response(PICTURES_TYPE, pictures(feeds))

    async def mjpeg(self, request: Request) -> Response:
        feed = self._jpeg_feed(request.path_params["name"])
        response = self.picture_clients.response(MJPEG_TYPE, mjpeg(feed))
        response.headers["Content-Security-Policy"] = _PICTURE_POLICY
        return response

    async def jpeg(self, request: Request) -> Response:
        name = request.path_params["name"]
        picture = await still(self._jpeg_feed(name), self.picture_clients, request.receive)
        if picture is None:
            stream = self.board.stream(name)
            state = "gone" if stream is None else stream.words
            detail = f"no picture of stream {name!r} came; it is {state}"
            raise HTTPException(503, detail, {"Retry-After": "2"})
        headers = {"Cache-Control": "no-store", "Content-Security-Policy": _PICTURE_POLICY}
        return Response(picture, media_type="image/jpeg", headers=headers)

    def _jpeg_feed(self, name: str) -> JpegFeed:
        feed = self.jpeg_feeds.get(name)
        if feed is None:
            raise missing(self.board, name, "mjpeg", self.jpeg_feeds)
        return feed

    async def events(self, request: Request) -> Response:
        name = request.query_params.get("stream")
        names = [stream.name for stream in self.board.streams()]
        if name is not None and name not in names:
            known = ", ".join(names)
            raise HTTPException(404, f"stream {name!r} is not configured; known are: {known}")
        return self.event_clients.response(EVENTS_TYPE, events(self.readings, name))


def build_info(metrics: Metrics) -> dict[str, str]:
    """What `affectd_build_info` says; empty before it is set."""
    (family,) = metrics.build_info.collect()
    return dict(family.samples[0].labels)


def _ago(unix_s: float, now_s: float) -> float:
    return round(max(0.0, now_s - unix_s), 3)


def _load(ladder: Ladder | None) -> dict[str, Any] | None:
    """How much work a live face gets, and how much it would get on a machine that is fast enough;
    None while no faces are read."""
    if ladder is None:
        return None
    rung, top = ladder.rung, ladder.top
    return {"crops": rung.view_count, "crops_wanted": top.view_count, "thinning": rung.thinning}


def _face(face: FaceView) -> dict[str, Any]:
    return {
        "track": face.track,
        "box_px": list(face.box_px),
        "label": face.label,
        "probabilities": {name: round(p, 4) for name, p in face.probabilities.items()},
        "age_s": round(face.age_s, 3),
    }


def _sink(sink: SinkStatus, now_s: float) -> dict[str, Any]:
    return {
        "name": sink.name,
        "state": sink.state,
        "since": utc(sink.since_s),
        "for_s": _ago(sink.since_s, now_s),
        "reason": sink.reason,
        "last_error": sink.last_error,
        "encoder": sink.encoder,
    }


def _verdict(good: bool, reason: str) -> Response:
    body = {"status": "ok" if good else "unavailable", "reason": reason}
    return JSONResponse(body, 200 if good else 503, {"Cache-Control": "no-store"})


def _page_routes() -> list[Route]:
    """The page's few files, held in memory, so that an upgrade on disk never mixes versions."""

    def route(path: str, file: Path) -> Route:
        content, media_type = file.read_bytes(), _PAGE_TYPES[file.suffix]

        async def answer(request: Request) -> Response:
            return Response(content, media_type=media_type, headers={"Cache-Control": "no-cache"})

        return Route(path, answer)

    files = [file for file in sorted(PAGE.iterdir()) if file.suffix in _PAGE_TYPES]
    return [route("/", PAGE / "index.html"), *(route(f"/page/{file.name}", file) for file in files)]


async def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = error.detail
    if detail == "Not Found":  # Starlette's own: no route fits.
        detail = f"nothing is at {request.scope['path']}"
    return JSONResponse({"error": detail}, error.status_code, error.headers)
