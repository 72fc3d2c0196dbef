"""What the machine is, and who else uses it."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def processor() -> str:
    """The processor's name, as Linux tells it."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith(("model name", "Model")):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


class Others:
    """The share of all processors that other programs take, from here on."""

    def __init__(self) -> None:
        self._began = self._now()

    def share(self) -> float | None:
        """0 to 1; None where Linux does not tell."""
        now = self._now()
        if now is None or self._began is None:
            return None
        elapsed_s, busy_s, own_s = (a - b for a, b in zip(now, self._began, strict=True))
        return min(1.0, max(0.0, (busy_s - own_s) / max(1e-3, elapsed_s)))

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds that passed on all processors, those of them with work, and those of ours."""
        try:
            line = Path("/proc/stat").read_text().partition("\n")[0]
        except OSError:
            return None
        ticks = [int(field) for field in line.split()[1:9]]
        busy = sum(ticks) - ticks[3] - ticks[4]
        tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
        elapsed_s = time.monotonic() * (os.cpu_count() or 1)
        return elapsed_s, busy * tick_s, time.process_time()
