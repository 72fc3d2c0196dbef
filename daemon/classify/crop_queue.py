"""The live crops that wait to be classified: whose turn it is, and who gives way."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from daemon.classify.jobs import Deliver, Job
from daemon.ladder import Wait

TURNED_AWAY = 4096  # faces that found no room and whose turns are remembered


class Since(NamedTuple):
    """When a face began to wait: its first crop not read yet was captured, and submitted."""

    captured_mono_s: float
    submitted_s: float


@dataclass(frozen=True, slots=True)
class Queued:
    """A crop in the queue, the newest of its track, and since when its track has waited."""

    job: Job
    deliver: Deliver
    since: Since

    def waited(self, now_s: float) -> Wait:
        return Wait(now_s - self.since.captured_mono_s, now_s - self.since.submitted_s)


class CropQueue:
    """At most `room` live crops, one a track. Not thread-safe: the batcher holds a lock.

    Newest first: a newer crop of a track takes the place of the older one, and its turn.

    Turns: the streams take turns, one crop each. So a stream is at most one crop behind any other
    that had crops waiting all the while, however many faces either shows; with S streams a face
    alone in its stream waits for S - 1 crops of others. Within a stream the face that has waited
    longest goes first.

    Full: the stream with the most crops drops one, that of the face that has waited least. The face
    keeps its turn for its next crop, or the faces beyond the room would never be read; only the
    last `TURNED_AWAY` such turns are remembered.

    Old: crops whose pictures are older than `max_age_s` are dropped before each batch.

    Every dropped crop goes to `drop(queued, reason)`: superseded, queue_full, too_old,
    stream_gone or stopping.
    """

    def __init__(
        self,
        room: int,
        drop: Callable[[Queued, str], None],
        *,
        max_age_s: float = math.inf,
    ) -> None:
        self._room = room
        self._drop = drop
        self._max_age_s = max_age_s
        self._lines: dict[str, dict[int, Queued]] = {}  # by stream, in the order of their turns
        self._count = 0
        self._turned_away: dict[tuple[str, int], Since] = {}

    def __len__(self) -> int:
        return self._count

    def put(self, job: Job, deliver: Deliver) -> None:
        """Queue a crop, in place of an older one of its track."""
        line = self._lines.setdefault(job.stream, {})
        since = self._turned_away.pop((job.stream, job.track), None)
        before = line.get(job.track)
        if before is not None:
            since = before.since
            self._drop(before, "superseded")
        else:
            self._count += 1
        line[job.track] = Queued(job, deliver, since or Since(job.captured_mono_s, job.submitted_s))
        if self._count > self._room:
            self._turn_away()

    def take(self, most: int, now_s: float) -> list[Queued]:
        """The next crops, in turn, at most `most`; those that are too old are dropped."""
        self._give_up_old(now_s)
        lines = {
            stream: sorted(line.values(), key=_waited_least) for stream, line in self._lines.items()
        }
        taken: list[Queued] = []
        while lines and len(taken) < most:
            stream = next(iter(lines))
            queued = lines[stream].pop()
            taken.append(queued)
            self._remove(queued)
            line = lines.pop(stream)
            if line:
                lines[stream] = line
                self._lines[stream] = self._lines.pop(stream)  # its next turn comes last
        return taken

    def first_s(self) -> float:
        """When the crop that has waited longest was submitted; infinite while none waits."""
        waiting = (queued for line in self._lines.values() for queued in line.values())
        return min((queued.since.submitted_s for queued in waiting), default=math.inf)

    def forget(self, stream: str, reason: str = "stream_gone") -> None:
        """Drop the crops of a stream that ends, and forget its turns."""
        for queued in list(self._lines.get(stream, {}).values()):
            self._remove(queued)
            self._drop(queued, reason)
        for key in [key for key in self._turned_away if key[0] == stream]:
            del self._turned_away[key]

    def clear(self, reason: str) -> None:
        """Drop all crops."""
        for stream in list(self._lines):
            self.forget(stream, reason)

    def _remove(self, queued: Queued) -> None:
        job = queued.job
        line = self._lines[job.stream]
        del line[job.track]
        self._count -= 1
        if not line:
            del self._lines[job.stream]

    def _give_up_old(self, now_s: float) -> None:
        limit_s = now_s - self._max_age_s
        for line in list(self._lines.values()):
            for queued in list(line.values()):
                if queued.job.captured_mono_s < limit_s:
                    self._remove(queued)
                    self._drop(queued, "too_old")

    def _turn_away(self) -> None:
        longest = max(map(len, self._lines.values()))
        lines = [line for line in self._lines.values() if len(line) == longest]
        queued = min((one for line in lines for one in line.values()), key=_waited_least)
        self._remove(queued)
        self._drop(queued, "queue_full")
        self._turned_away[queued.job.stream, queued.job.track] = queued.since
        if len(self._turned_away) > TURNED_AWAY:
            del self._turned_away[next(iter(self._turned_away))]


def _waited_least(queued: Queued) -> float:
    return -queued.since.submitted_s
