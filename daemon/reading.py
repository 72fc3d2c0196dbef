"""A reading of one face, and its line of JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

UNKNOWN = "unknown"
Why = Literal["small", "blurred", "turned", "unsure"]
"""Why a label is unknown: the first that holds of size, blur and yaw, else the net's doubt."""
SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a face can be seen.

    `face_px`: shorter side of the detection in frame pixels. `blur`: 0 sharp .. 1 featureless.
    `yaw_deg`: turn of the head from the camera, positive to the picture's right; None where
    the detector gives no landmarks. `score`: how sure the detector is of it, 0..1.
    """

    face_px: int
    blur: float
    yaw_deg: float | None
    score: float


@dataclass(frozen=True, slots=True)
class Reading:
    """One classified look at a track; docs/events.md describes every field."""

    stream: str
    seq: int
    media_time_s: float
    captured_s: float | None
    track: int
    tracked_since_s: float | None
    box_px: tuple[int, int, int, int]
    frame_px: tuple[int, int]
    label: str
    probabilities: Mapping[str, float]
    quality: Quality
    crops: int
    weights: str
    engine: str
    detector: str
    age_ms: float | None
    unknown: Why | None = None
    prior: str | None = None
    file: str | None = None

    def to_event(self) -> dict[str, Any]:
        """The reading as schema 1 describes it, ready for JSON."""
        quality = self.quality
        return {
            "schema": SCHEMA,
            "stream": self.stream,
            **({} if self.file is None else {"file": self.file}),
            "seq": self.seq,
            "media_time_s": round(self.media_time_s, 6),
            "captured_at": utc(self.captured_s, "microseconds"),
            "track": self.track,
            "tracked_since": utc(self.tracked_since_s, "microseconds"),
            "box_px": list(self.box_px),
            "frame_px": list(self.frame_px),
            "label": self.label,
            **({} if self.unknown is None else {"unknown": self.unknown}),
            "probabilities": {name: round(p, 6) for name, p in self.probabilities.items()},
            "quality": {
                "face_px": quality.face_px,
                "blur": round(quality.blur, 3),
                "yaw_deg": None if quality.yaw_deg is None else round(quality.yaw_deg, 1),
                "score": round(quality.score, 3),
            },
            "crops": self.crops,
            "weights": self.weights,
            "engine": self.engine,
            "detector": self.detector,
            **({} if self.prior is None else {"prior": self.prior}),
            "age_ms": None if self.age_ms is None else round(self.age_ms, 1),
        }

    def to_json(self) -> str:
        """One line of JSON, without the line's end."""
        return json.dumps(self.to_event(), separators=(", ", ": "))


def utc(moment_s: float | None, timespec: str = "milliseconds") -> str | None:
    """A Unix time as ISO 8601, to the `timespec` of `datetime.isoformat`; None stays None."""
    if moment_s is None:
        return None
    return datetime.fromtimestamp(moment_s, UTC).isoformat(timespec=timespec).replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class FaceView:
    """A face as the overlay, the page and the metrics see it in one frame.

    `box_px` as in Reading, in this frame. `label` and `probabilities` are the track's last
    smoothed reading; None and empty while there is none. `age_s` is how old that reading is.
    """

    track: int
    box_px: tuple[int, int, int, int]
    label: str | None
    probabilities: Mapping[str, float]
    age_s: float
