"""What the machine says of the power that it draws: RAPL of the processors, NVML of the cards."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

RAPL = Path("/sys/class/powercap")


class Meter:
    """Mean watts between `begin` and `watts`: processors by RAPL's counters, and graphics cards
    by what the program `smi` (NVML) says at the end."""

    def __init__(
        self,
        folder: Path = RAPL,
        smi: str | None = "nvidia-smi",
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._zones = [zone for zone in sorted(folder.glob("*-rapl:[0-9]*")) if _is_package(zone)]
        self._smi = None if smi is None else shutil.which(smi)
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        self._began_s = self._clock()
        self._began_uj = [_number(zone / "energy_uj") for zone in self._zones]

    def watts(self) -> float | None:
        """None where a part cannot be read, since the others would pass for the whole machine:
        no counter of the processors, one that only root may read, or cards that do not tell."""
        elapsed_s = max(1e-3, self._clock() - self._began_s)
        found_w = 0.0
        for zone, began in zip(self._zones, self._began_uj, strict=True):
            range_uj = _number(zone / "max_energy_range_uj")
            part = _rise(began, _number(zone / "energy_uj"), range_uj)
            if part is None:
                return None
            found_w += part * 1e-6 / elapsed_s
        cards_w = self._cards_w() if self._zones else None
        return None if cards_w is None else found_w + cards_w

    def _cards_w(self) -> float | None:
        """0 without `smi`, None where it does not tell of each card."""
        if self._smi is None:
            return 0.0
        query = [self._smi, "--query-gpu=power.draw", "--format=csv,noheader,nounits"]
        try:
            said = subprocess.run(query, capture_output=True, text=True, timeout=5.0, check=True)
            return sum(map(float, said.stdout.split()))
        except (OSError, subprocess.SubprocessError, ValueError):
            return None


def _is_package(zone: Path) -> bool:
    """Not a part of one (intel-rapl:0:1), nor `psys`, the platform that holds all packages."""
    try:
        name = (zone / "name").read_text()
    except OSError:
        name = "package"
    return zone.name.count(":") == 1 and name.startswith("package")


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _rise(began: int | None, ended: int | None, range_uj: int | None) -> int | None:
    """How far a counter went on, which starts again from 0 beyond its range."""
    if began is None or ended is None:
        return None
    if ended < began:
        return None if range_uj is None else ended - began + range_uj
    return ended - began
