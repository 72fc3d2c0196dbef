"""What systemd hears from the daemon: that it is ready, what it does, and that it still works.

The protocol is sd_notify(3): lines such as READY=1 in a datagram to $NOTIFY_SOCKET.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping

from daemon.monitoring.health import Health
from daemon.worker import Worker

log = logging.getLogger("affectd.systemd")

_SEND_TIMEOUT_S = 1.0
_TELL_S = 5.0  # how old the line of `systemctl status` may be


class Notifier:
    """Sends to the socket at `address`; without one, every call does nothing.

    An address that begins with @ is in Linux's abstract namespace. A message that cannot be sent
    is logged and lost: the daemon never fails because systemd does not listen.
    """

    def __init__(self, address: str | None) -> None:
        self._address = address

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> Notifier:
        return cls(env.get("NOTIFY_SOCKET"))

    def ready(self) -> None:
        """Everything is started."""
        self._send("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; `ready` follows."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """A clean end has begun."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for `systemctl status`; a newline in `text` becomes a blank."""
        self._send(f"STATUS={' '.join(text.splitlines())}")

    def watchdog(self) -> None:
        """The daemon made progress since the last call."""
        self._send("WATCHDOG=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        address = self._address
        if address.startswith("@"):
            address = "\0" + address[1:]
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.settimeout(_SEND_TIMEOUT_S)
                sender.sendto(message.encode(), address)
        except OSError as error:
            log.warning("systemd was not told %s: %s", message.partition("=")[0], error)


def watchdog_interval_s(env: Mapping[str, str], pid: int) -> float | None:
    """Half of systemd's watchdog time-out, or None where none is set for process `pid`."""
    time_us = env.get("WATCHDOG_USEC", "")
    if not time_us.isdecimal() or int(time_us) == 0:
        return None
    if env.get("WATCHDOG_PID", str(pid)) != str(pid):
        return None
    return int(time_us) / 2e6


class Watchdog(Worker):
    """Feeds systemd's watchdog while all loops of the daemon run, and only then.

    So systemd restarts a daemon in which a pipeline hangs, although this thread still runs. It also
    sends what `describe` returns, for `systemctl status`. With `interval_s` None (no watchdog is
    set) nothing is started.
    """

    def __init__(
        self,
        notifier: Notifier,
        health: Health,
        stop: threading.Event,
        interval_s: float | None,
        describe: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__("watchdog")
        self._notifier = notifier
        self._health = health
        self._stop = stop
        self._interval_s = interval_s
        self._describe = describe

    def start(self) -> None:
        """Feed at once, then at least every `interval_s`, until the stop event is set."""
        if self._interval_s is not None:
            super().start()

    def run(self) -> None:
        text = told = ""
        starved = False
        while True:
            alive, why = self._health.is_alive()
            if alive:
                self._notifier.watchdog()
                text = self._describe()
                if starved:
                    log.warning("feeding systemd's watchdog again")
            elif not starved:
                text = f"hangs: {why}"
                log.error("not feeding systemd's watchdog: %s", why)
            starved = not alive
            if text != told:
                self._notifier.status(text)
                told = text
            if self._stop.wait(min(self._interval_s or _TELL_S, _TELL_S)):
                return
