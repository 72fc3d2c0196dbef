"""Start and stop the RTSP server of rtsp_server.py from a test."""

from __future__ import annotations

import select
import signal
import subprocess
from pathlib import Path
from urllib.parse import quote

import pytest

PYTHON = "/usr/bin/python3"
_SCRIPT = Path(__file__).with_name("rtsp_server.py")
_PROBE = (
    "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "assert Gst.ElementFactory.find('x264enc') and Gst.ElementFactory.find('rtph264pay')"
)


def _is_there() -> bool:
    if not Path(PYTHON).exists():
        return False
    probe = subprocess.run([PYTHON, "-c", _PROBE], capture_output=True, check=False)
    return probe.returncode == 0


needs_gstreamer = pytest.mark.skipif(
    not _is_there(), reason="no gst-rtsp-server here: see the packages in tests/rtsp_server.py"
)


class RtspServer:
    """A server on a free port of 127.0.0.1, which it keeps, running within the `with` block."""

    def __init__(
        self,
        *options: str,
        user: str | None = None,
        password: str = "",
    ) -> None:
        self.user, self.password = user, password
        self.port = 0
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [PYTHON, str(_SCRIPT), "--port", str(self.port), *self._options]
        if self.user is not None:
            command += ["--user", self.user, "--password", self.password]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)
        assert self._process.stdout is not None
        line = self._process.stdout.readline().decode()
        assert line.startswith("PORT "), f"the server did not start: {line!r}"
        self.port = int(line.split()[1])

    def stop(self) -> None:
        """Kill it: connections break as if the camera lost its power."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process = None

    def freeze(self) -> None:
        """Connections stay open, and nothing comes any more."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def wait_for_teardown(self) -> None:
        """Until one more client has taken leave."""
        assert self._process is not None
        assert self._process.stdout is not None
        # Unbuffered, so that what select does not see has not come.
        assert select.select([self._process.stdout], [], [], 60.0)[0], "no TEARDOWN came"
        assert self._process.stdout.readline() == b"TEARDOWN\n"

    def url(
        self, path: str = "/cam", password: str | None = None, start: str = "rtsp://127.0.0.1"
    ) -> str:
        """The address, user and password percent-encoded; `password` may be a wrong one."""
        userinfo = ""
        if self.user is not None:
            secret = self.password if password is None else password
            userinfo = f"{quote(self.user, safe='')}:{quote(secret, safe='')}@"
        scheme, _, host = start.partition("://")
        return f"{scheme}://{userinfo}{host}:{self.port}{path}"

    def __enter__(self) -> RtspServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
