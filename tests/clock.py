"""A clock for what would take long, or depend on how busy the machine is."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Clock:
    """Time that passes only when told to."""

    now_s: float = 1000.0
    waits_s: list[float] = field(default_factory=list)

    def __call__(self) -> float:
        return self.now_s

    def wait(self, seconds: float) -> bool:
        """As of a stop event that nobody sets."""
        self.waits_s.append(seconds)
        self.now_s += seconds
        return False
