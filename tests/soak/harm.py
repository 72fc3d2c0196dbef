"""The faults of a soak: each one begins, is healed, is over, and has to be accounted for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from daemon.errors import Reason
from tests.faults.camera import Camera
from tests.faults.proxy import Harm, Proxy

STALL_S = 5.0
FROZEN_S = 8.0
SIZES = ("320x240", "400x300")
SETTLE_S = 3.0  # of good pictures after a fault, until it is over


class Patient:
    """A camera, the wire to it, and the options that it starts with."""

    def __init__(self, name: str, camera: Camera, proxy: Proxy) -> None:
        self.name = name
        self.camera = camera
        self.proxy = proxy
        self.size = SIZES[0]

    def resize(self) -> None:
        self.size = SIZES[1 - SIZES.index(self.size)]
        self.camera.tell(f"size {self.size}")


Step = Callable[[Patient], None]


def _harm(harm: Harm) -> Step:
    def cause(patient: Patient) -> None:
        patient.proxy.harm = harm

    return cause


def _nothing(patient: Patient) -> None:
    """It is over by itself."""


@dataclass(frozen=True, slots=True)
class Kind:
    """`cause` begins it, `heal` ends it once it was counted, or after `lasts_s` if that is sooner.
    `reasons` are the ones that reconnects may be counted for, of which one has to be; without any
    the stream goes on. `damages`: packets are dropped as damaged, with or without a reconnect."""

    name: str
    cause: Step
    heal: Step
    reasons: frozenset[Reason] = frozenset()
    lasts_s: float = 0.0
    damages: bool = False


def _kind(
    name: str,
    cause: Step,
    heal: Step,
    *reasons: Reason,
    lasts_s: float = 0.0,
    damages: bool = False,
) -> Kind:
    return Kind(name, cause, heal, frozenset(reasons), lasts_s, damages)


_LOST = (Reason.END_OF_STREAM, Reason.CONNECT_REFUSED)
_GONE = (*_LOST, Reason.TIMEOUT)  # a server that starts listens before it answers
_SILENT = (Reason.STALLED, Reason.TIMEOUT)
_LONG_S = 60.0  # as long as it takes until it is counted
_WELL = _harm(Harm())

KINDS = (
    _kind("killed", lambda p: p.camera.kill(), lambda p: p.camera.start(), *_GONE, lasts_s=_LONG_S),
    _kind("restarted", lambda p: p.camera.restart(*p.camera.options), _nothing, *_GONE),
    _kind(
        "stopped",
        lambda p: p.camera.halt(),
        lambda p: p.camera.resume(),
        *_SILENT,
        *_LOST,
        lasts_s=_LONG_S,
    ),
    _kind("cut", lambda p: p.proxy.cut(), _nothing, *_LOST),
    _kind("silent", _harm(Harm(hold=True)), _WELL, *_SILENT, *_LOST, lasts_s=_LONG_S),
    _kind("frozen", lambda p: p.camera.tell("freeze on"), lambda p: p.camera.tell("freeze off"),
          Reason.FROZEN, lasts_s=_LONG_S),
    _kind("time stands", _harm(Harm(stand=True)), _WELL, *_SILENT, lasts_s=_LONG_S),
    _kind("time leaps", _harm(Harm(leap_s=3600.0)), _WELL, lasts_s=4.0),
    _kind("resized", Patient.resize, _nothing),
    _kind(
        "damaged",
        _harm(Harm(flip=0.4, noise=1.0, drop=0.05, delay=0.1, delay_s=0.2)),
        _WELL,
        Reason.DECODE_ERROR,
        *_SILENT,
        lasts_s=8.0,
        damages=True,
    ),
)  # fmt: skip


@dataclass
class Injection:
    """One fault that was caused. Times are seconds since the soak began; None: not yet, or never.

    `counted` are the stream's reconnects since then, by reason, and `damaged` its dropped packets.
    """

    kind: Kind
    stream: str
    caused_at_s: float
    found_after_s: float | None = None
    healed_at_s: float | None = None
    recovered_after_s: float | None = None
    counted: dict[str, int] = field(default_factory=dict)
    damaged: int = 0

    @property
    def is_accounted_for(self) -> bool:
        """Whether the metrics tell of this fault, and of no other one."""
        if not set(self.counted) <= {str(reason) for reason in self.kind.reasons}:
            return False
        if self.kind.damages:
            return self.damaged > 0 or bool(self.counted)
        return bool(self.counted) == bool(self.kind.reasons)

    def as_dict(self) -> dict[str, object]:
        return {
            "kind": self.kind.name,
            "stream": self.stream,
            "caused_at_s": self.caused_at_s,
            "found_after_s": self.found_after_s,
            "recovered_after_s": self.recovered_after_s,
            "counted": self.counted,
            "damaged": self.damaged,
            "accounted_for": self.is_accounted_for,
        }
