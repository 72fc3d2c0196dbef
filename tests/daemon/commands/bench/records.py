"""Loads and records as a measurement might have found them."""

from __future__ import annotations

from classifiers.checkpoint import read_record
from classifiers.expression.weight_files import locate
from daemon.commands.bench.record import SIZES, BenchRecord, BenchSetup, Cameras, FaceRate, Load

MAX_AGE_MS = 1000.0


def a_load(cameras: int, share: float = 1.0, age_ms: float | None = 50.0) -> Load:
    readings = 0.0 if age_ms is None else 15.0
    return Load(cameras, share, share, readings, age_ms, age_ms, 0.5 * cameras, None)


def a_record(*most_of: int) -> BenchRecord:
    """A record of 480p, 720p, 1080p of which so many were carried, at 15 fps."""
    shipped = read_record(locate("default"))
    name = f"{shipped.name}-{shipped.sha256[:7]}"
    asked = BenchSetup(
        15, 2, ("mp4",), "yunet", 480, name, "ten_crop", "torch float32", MAX_AGE_MS, 6987.0
    )
    cameras = tuple(
        Cameras(*size, a_load(count) if count else None, a_load(count + 1, 0.5))
        for size, count in zip(SIZES, most_of, strict=True)
    )
    faces = (FaceRate("torch", "none", 1, 16, 300.0), FaceRate("torch", "ten_crop", 10, 16, 36.4))
    when = "2026-11-21T08:00:00+00:00"
    return BenchRecord(1, when, "0.1.0", "A processor", 4, "cpu", 0.0, asked, cameras, faces)
