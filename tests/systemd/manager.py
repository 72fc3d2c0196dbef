"""What a service sees of systemd: the socket at which it listens."""

from __future__ import annotations

import socket

HEAR_S = 60.0


class Systemd:
    """Listens at `address` within a `with` block; one that begins with @ is abstract."""

    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(address.replace("@", "\0", 1) if address.startswith("@") else address)
        self._socket.settimeout(HEAR_S)

    def hears(self) -> str:
        return self._socket.recv(4096).decode()

    def hears_within(self, timeout_s: float) -> str | None:
        self._socket.settimeout(timeout_s)
        try:
            return self.hears()
        except TimeoutError:
            return None
        finally:
            self._socket.settimeout(HEAR_S)

    def close(self) -> None:
        self._socket.close()

    def hears_until(self, beginning: str) -> list[str]:
        """All that comes up to the message that begins like this, which is the last."""
        heard = [self.hears()]
        while not heard[-1].startswith(beginning):
            heard.append(self.hears())
        return heard

    def __enter__(self) -> Systemd:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
