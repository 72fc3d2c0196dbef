"""What `privacy = "blur"` and `aggregate_only` keep in, by affectd's own files and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import av
import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from detectors import select
from detectors.base import Box, Detector, Range
from tests.affectd import Daemon
from tests.inside import inside
from tests.shared import MODELS, VIDEO, needs_shared

pytestmark = needs_shared

Capsys = pytest.CaptureFixture[str]
CLIPS = ("sbia1a.mpg", "man_signing.mp4", "two_people_head_pose.mp4", "two_people_walking.mp4")
EVERY = 5


@pytest.fixture(scope="module")
def hunters() -> Iterator[list[Detector]]:
    """Every detector but Haar's, which finds faces where there are none."""
    kinds: list[tuple[select.Backend, Range]] = [
        ("yunet", "full"),
        ("mediapipe", "full"),
        ("mediapipe", "short"),
    ]
    made = [
        select.resolve(
            backend, range=reach, min_score=0.5, models=MODELS, pull=False, log=print
        ).make()
        for backend, reach in kinds
    ]
    yield made
    for each in made:
        each.close()


def pictures(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Every fifth picture of a clip, RGB uint8 [h, w, 3]."""
    with av.open(str(path)) as container:
        for index, frame in enumerate(container.decode(video=0)):
            if index % EVERY == 0:
                yield frame.to_ndarray(format="rgb24").astype(np.uint8)


def meet(one: Box, other: Box) -> bool:
    """Whether the centre of one lies in the other: so also two of very different size meet."""

    def holds(outer: Box, inner: Box) -> bool:
        x, y = inner.x + inner.width / 2, inner.y + inner.height / 2
        return outer.x <= x <= outer.x + outer.width and outer.y <= y <= outer.y + outer.height

    return holds(one, other) or holds(other, one)


@pytest.mark.parametrize("clip", CLIPS)
def test_no_detector_finds_a_face_in_what_was_written(
    clip: str, hunters: list[Detector], tmp_path: Path, capsys: Capsys
) -> None:
    """
    1. A clip is written with covered faces, without labels, which some detectors take for eyes.
    2. Whatever three detectors find in the clip itself is gone from what was written.
    3. The readings are those of bare faces.
    """
    (config := tmp_path / "plain.toml").write_text(
        '[overlay]\nenabled = false\n[expression]\ntta = "none"\n'
        f'[models]\ndir = "{MODELS}"\n[[stream]]\nname = "unused"\nurl = "unused.mp4"\n'
    )
    written, events = tmp_path / "written.mp4", tmp_path / "events.jsonl"
    arguments = ("video", VIDEO / clip, written, "--events", events, "--config", config)
    assert inside(capsys, *arguments).code == 0
    bare = events.read_bytes()
    assert inside(capsys, *arguments, "--privacy", "blur", "--force").code == 0
    assert events.read_bytes() == bare
    seen = 0
    for before, after in zip(pictures(VIDEO / clip), pictures(written), strict=True):
        faces = [found.box for each in hunters for found in each.detect(before)]
        still = [found.box for each in hunters for found in each.detect(after)]
        seen += len(faces)
        assert not [box for box in still if any(meet(box, face) for face in faces)]
    assert seen > 15


def test_images_are_covered_too(
    hunters: list[Detector], tmp_path: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AFFECTD_MODELS", str(MODELS))
    picture = next(pictures(VIDEO / "sbia1a.mpg"))
    av.VideoFrame.from_ndarray(picture, format="rgb24").save(str(tmp_path / "face.png"))
    out = tmp_path / "out"
    done = inside(capsys, "image", tmp_path / "face.png", "--out", out, "--privacy", "blur")
    assert done.code == 0
    covered = next(pictures(out / "face.png.jpg"))
    assert [len(each.detect(picture)) for each in hunters] == [1, 1, 1]
    assert [each.detect(covered) for each in hunters] == [[], [], []]


AGGREGATE = f"""
[expression]
tta = "none"
[[stream]]
name = "lobby"
url = "{VIDEO / "sbia1a.mpg"}"
policy = "live"
loop = true
aggregate_only = true
[[stream.sink]]
kind = "mjpeg"
[[stream]]
name = "door"
url = "{VIDEO / "sbia1a.mpg"}"
policy = "live"
loop = true
"""


def test_of_a_stream_that_only_counts_nothing_else_leaves(tmp_path: Path) -> None:
    """
    1. Faces are read, and counted in the metrics.
    2. /api/streams names no face, and /events only those of the stream beside it.
    """
    with Daemon(tmp_path, AGGREGATE) as daemon:
        seconds = "affectd_expression_face_seconds_total"
        daemon.wait_for(lambda: _total(daemon, seconds) > 1.0, "a second of a face to be counted")
        state = daemon.stream("lobby")
        assert (state["state"], state["faces"]) == ("live", None)
        with httpx.stream("GET", f"{daemon.url}/events", timeout=60.0) as answer:
            told = (
                json.loads(line.removeprefix("data:"))["stream"]
                for line in answer.iter_lines()
                if line.startswith("data:")
            )
            assert next(told) == "door"
            before = _total(daemon, "affectd_readings_total")
            for stream in told:
                assert stream == "door"
                if _total(daemon, "affectd_readings_total") >= before + 5:
                    break
            else:
                pytest.fail("/events ended")
        assert _total(daemon, "affectd_faces") == 1


def _total(daemon: Daemon, name: str) -> float:
    """The sum of all samples of that name of the stream that only counts."""
    lines = daemon.get("/metrics").text.splitlines()
    return sum(
        float(line.split()[-1])
        for line in lines
        if line.startswith(f"{name}{{") and 'stream="lobby"' in line
    )
