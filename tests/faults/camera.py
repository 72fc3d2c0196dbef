"""A camera that can be killed, halted, restarted and told to misbehave."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from tests.rtsp import PYTHON

_SCRIPT = Path(__file__).with_name("camera_server.py")


class Camera:
    """camera_server.py on a port that stays the same, whether it runs or not."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self._process: subprocess.Popen[str] | None = None
        # Bound and not listening: the port is ours, and connections are refused.
        self._place = socket.socket()
        self._place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._place.bind(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]

    def start(self) -> None:
        command = [PYTHON, str(_SCRIPT), "--port", str(self.port), *self.options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"PORT {self.port}\n", f"the camera did not start: {line!r}"

    def kill(self) -> None:
        """Its power is cut; `start` gives it back."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None

    def restart(self, *options: str) -> None:
        """The same camera, set up differently."""
        self.kill()
        self.options = options
        self.start()

    def halt(self) -> None:
        """Connections stay open and nothing comes any more, until `resume`."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def tell(self, order: str) -> None:
        """Give one of the orders that camera_server.py knows."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(order + "\n")
        self._process.stdin.flush()

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._place.close()
