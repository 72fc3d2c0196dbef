"""Pictures and readings in responses that do not end while somebody reads; and single pictures."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from daemon.reading import Reading
from daemon.sinks.feed import Feed, JpegFeed

Write = Callable[[bytes], Awaitable[None]]
Body = Callable[[Write], Awaitable[None]]

BOUNDARY = b"affectd-picture"
MJPEG_TYPE = f"multipart/x-mixed-replace; boundary={BOUNDARY.decode()}"
PICTURES_TYPE = "application/x-affectd-pictures"
EVENTS_TYPE = "text/event-stream"
PING_S = 15.0
STILL_S = 8.0  # Home Assistant, for one, gives up after 10 s.


class ClientLimit:
    """Lets at most `limit` readers in at once; the next one gets a 503.

    `closing` ends them all. To be used on the web server's event loop only.
    """

    def __init__(self, limit: int, closing: asyncio.Event) -> None:
        self.limit = limit
        self.closing = closing
        self.leaving = asyncio.Event()
        self._count = 0

    @contextmanager
    def place(self) -> Iterator[bool]:
        """Counts one more reader; False where no place is left."""
        if self._count >= self.limit:
            yield False
            return
        self._count += 1
        try:
            yield True
        finally:
            self._count -= 1

    def send_away(self) -> None:
        """End all current readers; they may connect again, and are asked for the token then."""
        self.leaving.set()
        self.leaving = asyncio.Event()

    def full(self) -> HTTPException:
        """The error for a reader for whom no place is left."""
        reason = f"{self.limit} readers are connected, which is the limit"
        return HTTPException(503, reason, {"Retry-After": "5"})

    async def read(self, *tasks: asyncio.Future[Any], timeout_s: float | None = None) -> None:
        """Wait until one of `tasks` is done, `timeout_s` has passed, or all readers must leave;
        then cancel the tasks that are not done."""
        waited = {
            *tasks,
            asyncio.ensure_future(self.closing.wait()),
            asyncio.ensure_future(self.leaving.wait()),
        }
        try:
            await asyncio.wait(waited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in waited:
                task.cancel()
            await asyncio.gather(*waited, return_exceptions=True)

    def response(self, media_type: str, body: Body) -> Response:
        return LiveResponse(self, media_type, body)


class LiveResponse(Response):
    """Runs `body`, which writes until the reader leaves, the feed ends or the server closes.

    A reader that is slower than its feed makes `write` wait, and the feed drops old items; nobody
    else waits for it. A reader that takes nothing at all is disconnected by the server's sockets.
    """

    def __init__(self, clients: ClientLimit, media_type: str, body: Body) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._clients = clients
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._start(send)
            await send({"type": "http.response.body"})
            return
        with self._clients.place() as free:
            if not free:
                raise self._clients.full()
            await self._stream(receive, send)

    async def _start(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": list(self.raw_headers)}
        )

    async def _stream(self, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        await self._start(send)
        body = asyncio.ensure_future(self._body(write))
        await self._clients.read(body, asyncio.ensure_future(until_left(receive)))
        if not body.cancelled():
            body.result()
        await send({"type": "http.response.body"})


async def until_left(receive: Receive) -> None:
    """Return when the client of `receive` has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def still(feed: JpegFeed, clients: ClientLimit, receive: Receive) -> bytes | None:
    """One stream's next picture, as JPEG. None if none comes within `STILL_S`, or the reader (the
    client of `receive`) leaves or is sent away. Raises HTTPException if there are too many."""
    with clients.place() as free:
        if not free:
            raise clients.full()
        async with feed.subscribe() as pictures:
            picture = asyncio.ensure_future(pictures.next())
            left = asyncio.ensure_future(until_left(receive))
            await clients.read(picture, left, timeout_s=STILL_S)
    return None if picture.cancelled() or picture.exception() else picture.result()


def mjpeg(feed: JpegFeed) -> Body:
    """One stream's pictures as multipart/x-mixed-replace, which an <img> shows."""

    async def body(write: Write) -> None:
        # A browser shows a picture once it gets the next boundary, so that follows at once.
        await write(b"--%s\r\n" % BOUNDARY)
        async with feed.subscribe() as pictures:
            async for jpeg in pictures:
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                await write(head + jpeg + b"\r\n--%s\r\n" % BOUNDARY)

    return body


def pictures(feeds: Mapping[str, JpegFeed]) -> Body:
    """Some streams' pictures on one connection: a line `NAME LENGTH`, then LENGTH bytes of JPEG.

    A browser opens at most six connections to a host, so a page of sixteen <img> would starve.
    """

    async def body(write: Write) -> None:
        turn = asyncio.Lock()

        async def one(name: str, feed: JpegFeed) -> None:
            async with feed.subscribe() as jpegs:
                async for jpeg in jpegs:
                    async with turn:
                        await write(f"{name} {len(jpeg)}\n".encode() + jpeg)

        async with asyncio.TaskGroup() as group:
            for name, feed in feeds.items():
                group.create_task(one(name, feed))

    return body


def events(feed: Feed[Reading], stream: str | None) -> Body:
    """Readings as server-sent events, those of one stream or of all.

    A reader that is too slow for them is told how many it missed. When there are none, it gets a
    comment every 15 s, so that no proxy takes the connection for dead.
    """

    def wanted(reading: Reading) -> bool:
        return stream in (None, reading.stream)

    async def body(write: Write) -> None:
        await write(b"retry: 2000\n\n")
        async with feed.subscribe(wanted) as readings:
            told = 0
            while True:
                try:
                    async with asyncio.timeout(PING_S):
                        reading = await readings.next()
                except TimeoutError:
                    await write(b": nothing new\n\n")
                    continue
                except StopAsyncIteration:
                    return
                if missed := readings.dropped - told:
                    told += missed
                    await write(f": {missed} readings dropped\n\n".encode())
                await write(f"data: {reading.to_json()}\n\n".encode())

    return body
