"""The line of JSON that a reading becomes."""

from __future__ import annotations

from dataclasses import replace

from daemon.reading import Quality, Reading

READING = Reading(
    stream="lobby",
    seq=1412,
    media_time_s=56.4801234,
    captured_s=1_795_262_400.25,
    track=3,
    tracked_since_s=1_795_262_000.5,
    box_px=(812, 240, 131, 140),
    frame_px=(1920, 1080),
    label="unknown",
    probabilities={"happy": 0.3333333333, "sad": 0.6666666667},
    quality=Quality(face_px=131, blur=0.12345, yaw_deg=-4.04, score=0.98765),
    crops=10,
    weights="vgg10-3f2a91c",
    engine="torch float32",
    detector="yunet",
    age_ms=41.04,
    unknown="turned",
    prior="neutral=0.5",
)
LINE = (
    '{"schema": 1, "stream": "lobby", "seq": 1412, "media_time_s": 56.480123,'
    ' "captured_at": "2026-11-21T12:00:00.250000Z", "track": 3,'
    ' "tracked_since": "2026-11-21T11:53:20.500000Z", "box_px": [812, 240, 131, 140],'
    ' "frame_px": [1920, 1080], "label": "unknown", "unknown": "turned",'
    ' "probabilities": {"happy": 0.333333, "sad": 0.666667},'
    ' "quality": {"face_px": 131, "blur": 0.123, "yaw_deg": -4.0, "score": 0.988},'
    ' "crops": 10, "weights": "vgg10-3f2a91c", "engine": "torch float32", "detector": "yunet",'
    ' "prior": "neutral=0.5", "age_ms": 41.0}'
)


def test_each_field_has_its_place_and_precision() -> None:
    assert READING.to_json() == LINE


def test_what_is_not_known_is_null_or_left_out() -> None:
    sure = replace(READING, captured_s=None, tracked_since_s=None, age_ms=None, label="sad")
    event = replace(sure, unknown=None, prior=None, file="clip.mp4").to_event()
    assert event.keys() ^ READING.to_event().keys() == {"unknown", "prior", "file"}
    assert event["file"] == "clip.mp4"
    assert [event[key] for key in ("captured_at", "tracked_since", "age_ms")] == [None] * 3
