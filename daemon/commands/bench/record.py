"""What a measurement found, as JSON: for `--json`, and under the state directory for `check`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from classifiers.atomic import check_writable, write_json
from daemon.sinks.disk import sink_errors
from detectors.store import state_dir

SCHEMA = 1
BUSY_SHARE = 0.2  # of the processor, from which on other programs spoil a measurement
SIZES = ((854, 480), (1280, 720), (1920, 1080))


@dataclass(frozen=True, slots=True)
class BenchSetup:
    """What every camera of the measurement was asked for. `face_mflop` are millions of operations
    of the net for a face, 0.0 without expressions."""

    fps: int
    faces: int
    sinks: tuple[str, ...]
    detector: str
    long_side_px: int
    weights: str
    tta: str
    engine: str
    max_age_ms: float
    face_mflop: float


@dataclass(frozen=True, slots=True)
class Load:
    """So many cameras at once, over a few seconds.

    `frames_share` says how many of the pictures that the cameras sent were looked at, drawn and
    handed out, 1.0 for all; `worst_share` is that of the camera that fared worst. `cpu_cores` are
    processor seconds of the program a second, `age_*_ms` the age of readings from capture, None
    where there were none.
    """

    cameras: int
    frames_share: float
    worst_share: float
    readings_a_face_s: float
    age_p50_ms: float | None
    age_p99_ms: float | None
    cpu_cores: float
    watts: float | None


@dataclass(frozen=True, slots=True)
class Cameras:
    """The most cameras of one size that were carried. `carried` is None where not even one was,
    `failed` the least that was seen to be too many, None where nothing was."""

    width_px: int
    height_px: int
    carried: Load | None
    failed: Load | None

    @property
    def most(self) -> int:
        return 0 if self.carried is None else self.carried.cameras


@dataclass(frozen=True, slots=True)
class FaceRate:
    """Faces a second of one test-time mode on one engine, in batches of `batch`."""

    engine: str
    tta: str
    crops: int
    batch: int
    a_second: float


@dataclass(frozen=True, slots=True)
class BenchRecord:
    """One run of `affectd bench`. `others_share` is what other programs took of the processor."""

    schema: int
    measured_at: str
    affectd: str
    processor: str
    cores: int
    device: str
    others_share: float | None
    asked: BenchSetup
    cameras: tuple[Cameras, ...]
    faces: tuple[FaceRate, ...]

    @property
    def was_busy(self) -> bool:
        return self.others_share is not None and self.others_share > BUSY_SHARE


def kept_path() -> Path:
    """Where the newest measurement of this machine lies."""
    return state_dir() / "bench.json"


def check(path: Path) -> None:
    """Raise SinkError where `save` would, as far as that is known before; makes the folder."""
    with sink_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        check_writable(path)


def save(record: BenchRecord, path: Path) -> None:
    """Write the record as JSON, making the folder. Raises SinkError."""
    with sink_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)


def load(path: Path) -> BenchRecord | None:
    """The record in `path`; None where there is none that this version understands."""
    try:
        record: BenchRecord = TypeAdapter(BenchRecord).validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.schema == SCHEMA else None
