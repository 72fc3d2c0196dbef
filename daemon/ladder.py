"""How much work goes into a live face: less while readings are late, all of it otherwise."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from classifiers.expression import TTA

log = logging.getLogger("affectd.ladder")

WINDOW_S = 1.0  # each decision is based on the readings of this long
SHARE = 0.9  # of a window's readings that have to be young enough
HIGH, LOW = 0.8, 0.5  # shares of max_age_s: above HIGH work is shed, below LOW it comes back
HOLD_S, MOST_HOLD_S = 5.0, 320.0  # least and most time of young readings before a step up
_FRESH = 0.2  # weight of the newest batch in the average cost of a face

_FEWER: dict[TTA, tuple[TTA, ...]] = {
    "ten_crop": ("ten_crop", "flip", "none"),
    "scales": ("scales", "flip", "none"),
    "flip": ("flip", "none"),
}
_THINNING = (2, 4)


@dataclass(frozen=True, slots=True)
class Rung:
    """A level of work: `view_count` views of a face in mode `tta`, summed over all nets, and faces
    looked for on every `thinning`-th of the frames that `detector.every` chooses."""

    tta: TTA
    view_count: int
    thinning: int = 1

    def __str__(self) -> str:
        fewer = "" if self.thinning == 1 else f", detections 1 in {self.thinning}"
        return f"crops per face: {self.view_count}{fewer}"


def rungs(tta: TTA, view_counts: Mapping[TTA, int]) -> tuple[Rung, ...]:
    """From the configured rung down to the cheapest: first fewer views, then fewer detections.

    `view_counts` says how many views of a face each mode has.
    """
    modes = [Rung(mode, view_counts[mode]) for mode in _FEWER.get(tta, (tta,))]
    last = modes[-1]
    return (*modes, *(Rung(last.tta, last.view_count, thinning) for thinning in _THINNING))


@dataclass(frozen=True, slots=True)
class Wait:
    """How long a face waited for a reading: `age_s` since its picture was captured, `queued_s`
    since its crop was submitted. Both count from the first crop that had to wait, not from a newer
    one that replaced it: for so long the face had no newer reading."""

    age_s: float
    queued_s: float


class Ladder:
    """Chooses a rung by the age of readings.

    Where more than a tenth of the readings of a second are older than 0.8 `max_age_s`, it goes one
    rung down. It goes one up when for a hold, `HOLD_S` at first, readings would have been younger
    than 0.5 `max_age_s` there too, as estimated from the cost of a face on both rungs. A step down
    after a step up changes the hold: doubled, up to `MOST_HOLD_S`, if it comes within a hold, else
    halved, down to `HOLD_S`. Without faces, readings count as young. Every step is logged and
    passed to `on_rung`, with whether it was down.

    Belongs to the batcher's thread; `rung` may be read from any thread.
    """

    def __init__(
        self,
        rungs: Sequence[Rung],
        max_age_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        on_rung: Callable[[Rung, bool], None] = lambda rung, down: None,
    ) -> None:
        self._rungs = tuple(rungs)
        self.max_age_s = max_age_s
        self._clock = clock
        self._on_rung = on_rung
        self._at = 0
        self._waits: list[Wait] = []
        self._cost_s: dict[int, float] = {}  # of classifying one face, by rung
        self._hold_s = HOLD_S
        self._due_s = clock() + WINDOW_S
        self._room_since_s: float | None = None
        self._climbed_s: float | None = None  # time of the last step, if that was up
        self._settling = False

    @property
    def rung(self) -> Rung:
        """The rung in use."""
        return self._rungs[self._at]

    @property
    def top(self) -> Rung:
        """What the configuration asks for."""
        return self._rungs[0]

    def saw(self, waits: Sequence[Wait], took_s: float) -> None:
        """A batch was classified on this rung in `took_s`; `waits` has an entry for each face."""
        if self._settling:
            return
        self._waits += waits
        cost_s = took_s / len(waits)
        self._cost_s[self._at] = (1 - _FRESH) * self._cost_s.get(self._at, cost_s) + _FRESH * cost_s

    def gave_up(self, wait: Wait) -> None:
        """A crop became too old to be classified."""
        if not self._settling:
            self._waits.append(wait)

    def decide(self) -> None:
        """Choose the rung if a window has passed. Call it after each batch and while none waits."""
        now_s = self._clock()
        if now_s < self._due_s:
            return
        self._due_s = now_s + WINDOW_S
        if self._settling:
            # Crops classified soon after a step were still queued under the previous rung.
            self._settling = False
            return
        waits, self._waits = self._waits, []
        age_s = _percentile([wait.age_s for wait in waits])
        queued_s = _percentile([wait.queued_s for wait in waits])
        if age_s > HIGH * self.max_age_s:
            self._room_since_s = None
            if self._at + 1 < len(self._rungs):
                self._down(now_s, age_s)
        elif self._at == 0 or age_s + self._more_s(queued_s) > LOW * self.max_age_s:
            self._room_since_s = None
        elif self._room_since_s is None:
            self._room_since_s = now_s
        elif now_s - self._room_since_s >= self._hold_s:
            self._up(now_s)

    def _more_s(self, queued_s: float) -> float:
        """How much longer a face would wait one rung up, in proportion to its cost there."""
        here, above = self._rungs[self._at], self._rungs[self._at - 1]
        most = here.thinning / above.thinning * above.view_count / here.view_count
        ratio = most
        cost_s, above_s = self._cost_s.get(self._at), self._cost_s.get(self._at - 1)
        if cost_s and above_s and here.thinning == 1:
            ratio = min(most, max(1.0, above_s / cost_s))
        return queued_s * (ratio - 1.0)

    def _down(self, now_s: float, age_s: float) -> None:
        if self._climbed_s is not None:
            lasted = now_s - self._climbed_s > self._hold_s
            hold_s = 0.5 * self._hold_s if lasted else 2.0 * self._hold_s
            self._hold_s = min(MOST_HOLD_S, max(HOLD_S, hold_s))
            self._climbed_s = None
        self._step(1, now_s, settle_s=min(age_s, 3.0 * self.max_age_s))
        log.warning(
            "readings are %.2f s old (expression.max_age_ms = %g): %s",
            age_s,
            1000.0 * self.max_age_s,
            self.rung,
        )

    def _up(self, now_s: float) -> None:
        self._climbed_s = now_s
        self._step(-1, now_s, settle_s=0.0)
        log.info("readings come in time: %s", self.rung)

    def _step(self, by: int, now_s: float, settle_s: float) -> None:
        self._at += by
        self._room_since_s = None
        self._settling = True
        self._due_s = now_s + max(WINDOW_S, settle_s)
        self._on_rung(self.rung, by > 0)


def _percentile(ages_s: Sequence[float]) -> float:
    """The age below which `SHARE` of them stay; 0 where there are none."""
    return sorted(ages_s)[math.ceil(SHARE * len(ages_s)) - 1] if ages_s else 0.0
