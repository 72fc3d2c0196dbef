"""One HTTP connection, and how long it may exist without a request."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

# Enough for all readers and some browsers; well below the 1024 files that a process may open,
# which cameras and recordings need too.
MAX_CONNECTIONS = 128
REQUEST_S = 10.0


class Connection(H11Protocol):
    """uvicorn's, except that a client has `request_s`, from connecting or from its last answer, to
    send a whole request, however slowly the bytes come. While it still fetches that answer, the
    time is extended by `request_s` as long as it took some of it in the last `request_s`.

    At most `max_connections` are held. One more takes the place of the one that has been idle for
    the longest (of one that still fetches its answer, if no other is idle); while all of them are
    being answered it is refused.
    """

    max_connections = MAX_CONNECTIONS
    request_s = REQUEST_S

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._waits_until: asyncio.TimerHandle | None = None
        self._unsent_bytes = 0  # at the start of the wait

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self.max_connections:
            idle = [
                one
                for one in self.connections
                if isinstance(one, Connection) and one._waits_until is not None
            ]
            given_up = min(idle, key=lambda one: (one._fetches, one._due_s), default=self)
            given_up.transport.abort()
            # uvicorn removes it later, on the event loop; it must not be chosen twice until then.
            self.connections.discard(given_up)
            if given_up is self:
                return
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def handle_events(self) -> None:
        super().handle_events()
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        self._wait()
        super().on_response_complete()

    @property
    def _fetches(self) -> bool:
        """Whether some of the last answer, which uvicorn calls complete, is still to be sent."""
        return self.transport.get_write_buffer_size() > 0

    @property
    def _due_s(self) -> float:
        return 0.0 if self._waits_until is None else self._waits_until.when()

    def _wait(self) -> None:
        self._stop_waiting()
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._waits_until = self.loop.call_later(self.request_s, self._is_due)

    def _is_due(self) -> None:
        if 0 < self.transport.get_write_buffer_size() < self._unsent_bytes:
            self._wait()
        else:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._waits_until is not None:
            self._waits_until.cancel()
            self._waits_until = None
