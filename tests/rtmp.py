"""Start and stop a real RTMP server, Debian's nginx with its module, as an ordinary user."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests.affectd import ROOT
from tests.waiting import wait_for_server

_MODULE = "ngx_rtmp_module.so"
# Unpacked by `make test`, or installed.
_ROOTS = (ROOT / ".setup/deb", Path("/"))
_MODULES = [
    root / "usr" / folder / "nginx/modules" / _MODULE
    for root in _ROOTS
    for folder in ("lib", "share")
]
NGINX = shutil.which("nginx", path=os.pathsep.join(str(root / "usr/sbin") for root in _ROOTS))
MODULE = next((module for module in _MODULES if module.exists()), None)

needs_rtmp = pytest.mark.skipif(
    NGINX is None or MODULE is None,
    reason="no nginx with its RTMP module here: Debian's nginx and libnginx-mod-rtmp",
)

_CONFIG = """\
load_module {module};
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log {folder}/error.log info;
events {{ worker_connections 64; }}
rtmp {{
    access_log off;
    server {{
        listen 127.0.0.1:{port};
        application live {{ live on; }}
        application closed {{ live on; deny publish all; }}
    }}
}}
"""


class RtmpServer:
    """A server on 127.0.0.1 that relays what is published under /live, within a `with` block."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        config = self._folder / "nginx.conf"
        log = self._folder / "error.log"
        config.write_text(_CONFIG.format(module=MODULE, folder=self._folder, port=self.port))
        assert NGINX is not None
        self._process = subprocess.Popen([NGINX, "-p", self._folder, "-c", config, "-e", log])
        wait_for_server(self._process, "127.0.0.1", self.port, log)

    def stop(self) -> None:
        """Kill it: connections break."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def url(self, path: str = "/live/cam") -> str:
        return f"rtmp://127.0.0.1:{self.port}{path}"

    def __enter__(self) -> RtmpServer:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
