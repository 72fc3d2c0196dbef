"""What can happen on the wire between a camera and affectd: a proxy on loopback."""

from __future__ import annotations

import contextlib
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_TICK_S = 0.1
_CLOCK_HZ = 90_000  # of RTP timestamps of video
_RTP_HEADER = 12
_NAL_HEADER = 2  # which keeps its meaning, so that the packet is a picture and no other


@dataclass(frozen=True, slots=True)
class Harm:
    """What happens to packets of video on their way to affectd; `flip`, `drop` and `delay` are
    shares of them, 0 to 1.

    `flip` changes bytes of the payload, the share `noise` of them. `delay` holds it back by
    `delay_s`, with all that follows. `hold` lets nothing through. `leap_s` moves timestamps,
    `stand` keeps them as they are.
    """

    flip: float = 0.0
    noise: float = 0.02
    drop: float = 0.0
    delay: float = 0.0
    delay_s: float = 0.0
    hold: bool = False
    leap_s: float = 0.0
    stand: bool = False


class Proxy:
    """Passes TCP on to `port` of this machine; `harm` may be changed at any time.

    It knows where RTSP's packets begin (RFC 2326, 10.12), so that harm to a picture does not
    break the connection. The same `seed` harms the same packets. `done` counts what was done.
    """

    def __init__(self, port: int, seed: int = 0) -> None:
        self.harm = Harm()
        self.done: Counter[str] = Counter()
        self._target = ("127.0.0.1", port)
        self._random = random.Random(seed)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._stamp: bytes | None = None
        self._break_at: int | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(_TICK_S)
        self.port: int = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, name="proxy accept")]
        self._threads[0].start()

    def cut(self) -> None:
        """End every connection."""
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.done["cut"] += 1

    def break_at(self, answer: int) -> None:
        """End the next connection in the middle of that answer of the server, counted from 0."""
        self._break_at = answer

    def _accept(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                client, _ = self._listener.accept()
                try:
                    server = socket.create_connection(self._target)
                except OSError:
                    client.close()
                    continue
                with self._lock:
                    self._open |= {client, server}
                self._threads = [thread for thread in self._threads if thread.is_alive()]
                for name, pump in (("up", self._up), ("down", self._down)):
                    thread = threading.Thread(
                        target=pump, args=(client, server), name=f"proxy {name}"
                    )
                    self._threads.append(thread)
                    thread.start()

    def _up(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for data in self._received(client):
                server.sendall(data)
        self._end(client, server)

    def _down(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError):
            for number, unit in enumerate(units(self._received(server))):
                if number == self._break_at:
                    self._break_at = None
                    client.sendall(unit[: len(unit) // 2])
                    self.done["cut"] += 1
                    break
                if (harmed := self._harmed(unit)) is not None:
                    client.sendall(harmed)
        self._end(client, server)

    def _received(self, connection: socket.socket) -> Iterator[bytes]:
        connection.settimeout(_TICK_S)
        while not self._stop.is_set():
            with contextlib.suppress(TimeoutError):
                data = connection.recv(65536)
                if not data:
                    return
                yield data

    def _harmed(self, unit: bytes) -> bytes | None:
        """What becomes of one packet or answer; None where it is lost."""
        while self.harm.hold and not self._stop.wait(_TICK_S):
            pass
        harm, chance = self.harm, self._random.random
        if len(unit) <= 4 + _RTP_HEADER or unit[:2] != b"$\x00":
            return unit
        if chance() < harm.drop:
            self.done["dropped"] += 1
            return None
        if chance() < harm.delay:
            self.done["delayed"] += 1
            self._stop.wait(harm.delay_s)
        packet = bytearray(unit)
        if harm.stand:
            self._stamp = self._stamp or bytes(packet[8:12])
            packet[8:12] = self._stamp
        elif harm.leap_s:
            stamp = struct.unpack(">I", packet[8:12])[0] + int(harm.leap_s * _CLOCK_HZ)
            packet[8:12] = struct.pack(">I", stamp % 2**32)
        if chance() < harm.flip:
            self.done["flipped"] += 1
            begin = min(4 + _RTP_HEADER + _NAL_HEADER, len(packet) - 1)
            for _ in range(1 + int(harm.noise * (len(packet) - begin))):
                at = self._random.randrange(begin, len(packet))
                packet[at] ^= self._random.randrange(1, 256)
        return bytes(packet)

    def _end(self, *connections: socket.socket) -> None:
        """Both sides of a connection end together."""
        with self._lock:
            for connection in connections:
                self._open.discard(connection)
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self.cut()
        for thread in self._threads:
            thread.join(5.0)
        self._listener.close()


def units(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Cut what an RTSP server sends into whole packets and whole answers."""
    buffer = b""
    for chunk in chunks:
        buffer += chunk
        while (end := _end_of_unit(buffer)) is not None:
            yield buffer[:end]
            buffer = buffer[end:]


def _end_of_unit(buffer: bytes) -> int | None:
    if len(buffer) < 4:
        return None
    if buffer[:1] == b"$":
        end = 4 + int.from_bytes(buffer[2:4], "big")
    else:
        head = buffer.find(b"\r\n\r\n")
        if head < 0:
            return None
        length = re.search(rb"(?i)content-length:\s*(\d+)", buffer[:head])
        end = head + 4 + (int(length[1]) if length else 0)
    return end if len(buffer) >= end else None
