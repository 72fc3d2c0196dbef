"""The web server: uvicorn in one thread, on a socket that is bound before anything else starts."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import sys
import threading

import uvicorn

from daemon.config.settings import DaemonSettings
from daemon.errors import AffectdError
from daemon.monitoring.health import Loop
from daemon.web.app import Site
from daemon.web.connection import Connection

log = logging.getLogger("affectd.web")

READER_TIMEOUT_S = 30.0
_LOOP_LIMIT_S = 30.0
# Else the kernel lets it grow to megabytes, and slow readers see pictures that are seconds old.
_SEND_BUFFER_BYTES = 256 * 1024
_STALLED_READERS_S = 0.5
_IP_FREEBIND = 15  # <linux/in.h>, for IPv6 too; Python has no name for it.
_NOT_OURS = "no interface of this machine has this address"


class WebServer:
    """Serves `site` (from `make_site`) at `host` and `port`; port 0 takes any free one.

    A reader whose machine takes no byte for `reader_timeout_s` is disconnected (by the kernel, on
    Linux only).
    """

    def __init__(
        self,
        site: Site,
        host: str,
        port: int,
        reader_timeout_s: float = READER_TIMEOUT_S,
        connection: type[Connection] = Connection,
    ) -> None:
        self._connection = connection
        self._site = site
        self._host = host
        self._port = port
        self._reader_timeout_s = reader_timeout_s
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is served, once started."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the page, for people: http://127.0.0.1:9464/"""
        return f"http://{_address(self._host, self._port)}/"

    def start(self) -> None:
        """Bind, then serve from a thread; returns when requests are answered.

        An address that the machine does not have is served as soon as it has it, and the log
        says so (Linux). Raises AffectdError, naming the address, when it cannot be listened on.
        That is no ConfigError, since it may work later, once a name is known or a port is free.
        """
        listener = _listen(self._host, self._port, self._reader_timeout_s)
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(
            self._site.app,
            lifespan="off",
            log_config=None,
            # At lower levels, clients that send nonsense could fill the log.
            log_level="error",
            http=self._connection,
            ws="none",
            access_log=False,
            server_header=False,
            proxy_headers=False,
        )
        health_loop = self._site.health.loop("web", _LOOP_LIMIT_S)
        self._server = _Server(config, self._site.closing, health_loop)
        self._thread = threading.Thread(
            target=self._server.run, args=([listener],), name="web", daemon=True
        )
        self._thread.start()
        self._server.is_settled.wait()
        if not self._server.started:
            raise AffectdError(f"the web server did not start at {self.url}")

    def follow(self, settings: DaemonSettings) -> None:
        """Use the token and names of `settings`, and disconnect current readers, so that they have
        to show the new token."""
        if self._server is None:
            return
        self._site.guard.follow(settings)
        for clients in self._site.clients:
            self._server.loop.call_soon_threadsafe(clients.send_away)

    def stop(self, timeout_s: float) -> bool:
        """Let every reader go and end the thread. False, with a warning, if time ran out. Safe to
        call twice."""
        if self._server is None or self._thread is None:
            return True
        self._server.should_exit = True
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            log.warning("the web server did not stop in %g s", timeout_s)
            return False
        self._server = self._thread = None
        return True


class _Server(uvicorn.Server):
    """uvicorn, except that responses without an end are ended when it stops. Since it does not run
    on the main thread, it handles no signals."""

    def __init__(self, config: uvicorn.Config, closing: asyncio.Event, health_loop: Loop) -> None:
        super().__init__(config)
        self.is_settled = threading.Event()
        self._closing = closing
        self._health_loop = health_loop

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        try:
            super().run(sockets)
            self._health_loop.end()
        finally:
            self.is_settled.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self.is_settled.set()

    async def on_tick(self, counter: int) -> bool:
        self._health_loop()
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._closing.set()
        # Readers that do not read would keep their connection open for ever.
        asyncio.get_running_loop().call_later(_STALLED_READERS_S, self._abort_connections)
        await super().shutdown(sockets)

    def _abort_connections(self) -> None:
        for connection in list(self.server_state.connections):
            transport = getattr(connection, "transport", None)
            if isinstance(transport, asyncio.WriteTransport):
                transport.abort()


def _listen(host: str, port: int, reader_timeout_s: float) -> socket.socket:
    where = f"[daemon] listen = {_address(host, port)}"
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise AffectdError(f"{where}: the host {host!r} is not known: {error.strerror}") from error
    # Where localhost is both, take IPv4: most who use a number and not the name say 127.0.0.1.
    family, kind, protocol, _, address = min(
        found, key=lambda one: host == "localhost" and one[0] != socket.AF_INET
    )
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted sockets inherit these.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            timeout_ms = round(reader_timeout_s * 1000)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, timeout_ms)
            # While a feed has nothing to send, keep-alive probes find readers that are gone: two of
            # them fit into the time-out.
            probe_s = max(1, round(reader_timeout_s / 3))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, probe_s)
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe_s)
        try:
            listener.bind(address)
        except OSError as error:
            if error.errno != errno.EADDRNOTAVAIL or sys.platform != "linux":
                raise
            # After a power cut, the network may start later than affectd.
            listener.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
            listener.bind(address)
            log.warning("%s: %s yet; it is served once one has", where, _NOT_OURS)
        listener.listen(128)
        listener.setblocking(False)
    except OSError as error:
        listener.close()
        raise AffectdError(f"{where}: {_why_not(error)}") from error
    return listener


def _why_not(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return "the address is in use by another program; stop it, or choose another port"
        case errno.EADDRNOTAVAIL:
            return _NOT_OURS
        case errno.EACCES:
            return "not permitted; ports below 1024 want root or CAP_NET_BIND_SERVICE"
        case _:
            return f"cannot be listened on: {error.strerror}"


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
