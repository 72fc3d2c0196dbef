"""A real systemd as PID 1 of a container that shows this machine's files and changes none of them.

systemd-nspawn boots it on an overlay of `/` whose upper layer lies in memory, with a network of its
own that reaches nobody.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.systemd.manager import Systemd

STOP_S = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Where systemd runs this machine it makes the container's control group, else it has to be made.
_IS_MANAGED = Path("/run/systemd/system").is_dir()
_GROUPS = (
    [] if _IS_MANAGED else ["/sys/fs/cgroup", "/sys/fs/cgroup/systemd", "/sys/fs/cgroup/unified"]
)
_BOOT = """
root="$1"; shift
while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs"; shift; done; shift
mount --bind / "$root"
exec systemd-nspawn --directory="$root" "$@"
"""


def _why_not() -> str | None:
    """Why no container can be booted here, or None."""
    if os.geteuid() != 0:
        return "booting systemd in a container wants root"
    for program in ("systemd-nspawn", "dbus-daemon", "nsenter", "unshare", "make"):
        if shutil.which(program) is None:
            return f"{program} is not installed (Debian: systemd-container, dbus, make)"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode:
        return "this root may not mount"
    return None


needs_machine = pytest.mark.skipif(bool(_why_not()), reason=_why_not() or "")


class Machine:
    """Boots within a `with` block, and leaves no process, mount or control group behind.

    `binds` are folders of this machine that can be read in the container: from, to. What it
    writes is lost at the end; until then it is below `root`.
    """

    def __init__(self, folder: Path, binds: Mapping[Path, str]) -> None:
        self._folder = folder
        self._binds = binds
        self.name = f"affectd-{os.getpid()}"
        self._groups = [
            Path(group) / self.name for group in _GROUPS if Path(group, "cgroup.procs").exists()
        ]
        self._leader = 0

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self._leader}/root")

    def run(self, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in the container to its end, as root."""
        done = subprocess.run(
            [
                "nsenter",
                f"--target={self._leader}",
                "--all",
                "env",
                "-i",
                f"PATH={_PATH}",
                *command,
            ],
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{command}: {done.stdout}{done.stderr}"
        return done

    def says(self, *command: str) -> str:
        """What a command in the container prints."""
        return self.run(*command).stdout.strip()

    def wait_for(self, is_so: Callable[[], bool], what: str, timeout_s: float = 120.0) -> None:
        end_s = time.monotonic() + timeout_s
        while not is_so():
            assert time.monotonic() < end_s, f"waited {timeout_s} s for {what}"
            time.sleep(0.2)  # a machine of its own gives no event to wait on

    def __enter__(self) -> Machine:
        (self._folder / "root").mkdir()
        for group in self._groups:
            group.mkdir()
        address = str(self._folder / "notify")
        with Systemd(address) as hears, (self._folder / "console").open("w") as console:
            self._process = subprocess.Popen(
                ["unshare", "--mount", "--propagation=private", "sh", "-ec", _BOOT, "sh"]
                + [str(self._folder / "root"), *map(str, self._groups), "--"]
                + ["--boot", "--volatile=overlay", "--console=pipe", f"--machine={self.name}"]
                + ["--private-network", "--link-journal=no", "--register=no", "--notify-ready=yes"]
                + ([] if _IS_MANAGED else ["--keep-unit"])
                # Units filter devices by eBPF.
                + ["--system-call-filter=bpf", "--capability=CAP_BPF,CAP_PERFMON"]
                + [f"--bind-ro={source}:{target}" for source, target in self._binds.items()]
                # Not what else this machine starts when it boots.
                + ["systemd.unit=basic.target"],
                env={
                    **os.environ,
                    "NOTIFY_SOCKET": address,
                    "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
                },
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
            )
            try:
                heard = "\n".join(hears.hears_until("READY=1"))
            except TimeoutError:
                self.close()
                pytest.fail(f"systemd did not boot:\n{(self._folder / 'console').read_text()}")
        found = re.search(r"^X_NSPAWN_LEADER_PID=(\d+)", heard, re.MULTILINE)
        assert found, heard
        self._leader = int(found[1])
        return self

    def close(self) -> None:
        """Shut it down; one that hangs is killed."""
        self._process.terminate()
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(STOP_S)
        for group in self._groups:
            for folder, _, _ in os.walk(group, topdown=False):
                with contextlib.suppress(FileNotFoundError):
                    Path(folder).rmdir()

    def __exit__(self, *_: object) -> None:
        self.close()
