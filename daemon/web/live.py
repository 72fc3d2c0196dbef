"""Responses without an end: pictures and readings, for as long as somebody reads them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager

from starlette.responses import JSONResponse, Response
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


class Readers:
    """How many read at once, at most `limit`; the next one is turned away with a 503.

    `closing` ends them all. Belongs to the web server's event loop.
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
        """End those that read now; they may come again, and are asked for the token then."""
        self.leaving.set()
        self.leaving = asyncio.Event()

    def response(self, media_type: str, body: Body) -> Response:
        return LiveResponse(self, media_type, body)


class LiveResponse(Response):
    """Runs `body`, which writes until the reader leaves, the feed ends or the server closes.

    A reader that is slower than its feed makes `write` wait, and the feed drops what is old;
    nobody else waits for it. The server's sockets give up a reader that takes nothing at all.
    """

    def __init__(self, readers: Readers, media_type: str, body: Body) -> None:
        super().__init__(media_type=media_type, headers={"Cache-Control": "no-store"})
        del self.headers["content-length"]
        self._readers = readers
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "HEAD":
            await self._start(send)
            await send({"type": "http.response.body"})
            return
        with self._readers.place() as free:
            if free:
                await self._stream(receive, send)
                return
        reason = f"{self._readers.limit} readers are connected, which is the limit"
        refusal = JSONResponse({"error": reason}, 503, {"Retry-After": "5"})
        await refusal(scope, receive, send)

    async def _start(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": 200, "headers": list(self.raw_headers)}
        )

    async def _stream(self, receive: Receive, send: Send) -> None:
        async def write(data: bytes) -> None:
            await send({"type": "http.response.body", "body": data, "more_body": True})

        async def until_left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        await self._start(send)
        body = asyncio.ensure_future(self._body(write))
        tasks = {
            body,
            asyncio.ensure_future(until_left()),
            asyncio.ensure_future(self._readers.closing.wait()),
            asyncio.ensure_future(self._readers.leaving.wait()),
        }
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if not body.cancelled():
            body.result()
        await send({"type": "http.response.body"})


def mjpeg(feed: JpegFeed) -> Body:
    """One stream's pictures as multipart/x-mixed-replace, which an <img> shows."""

    async def body(write: Write) -> None:
        # A browser shows a part when it meets the next boundary, so that one follows at once.
        await write(b"--%s\r\n" % BOUNDARY)
        async with feed.subscribe() as pictures:
            async for jpeg in pictures:
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(jpeg)
                await write(head + jpeg + b"\r\n--%s\r\n" % BOUNDARY)

    return body


def pictures(feeds: Mapping[str, JpegFeed]) -> Body:
    """Every stream's pictures on one connection: a line `NAME LENGTH`, then LENGTH bytes of JPEG.

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

    A reader that is too slow for them is told how many of them it missed. One without news gets
    a comment every 15 s, so that nobody on the way takes the connection for dead.
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
