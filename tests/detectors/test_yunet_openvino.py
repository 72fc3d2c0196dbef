"""YuNet by OpenVINO beside YuNet by OpenCV."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.frame import DetectorScaler
from detectors.base import Detection
from detectors.select import Choice, resolve
from detectors.yunet import as_detections
from tests.detectors.kinds import build
from tests.shared import MODELS, VIDEO, needs_shared

yunet_openvino = pytest.importorskip(
    "detectors.yunet_openvino", reason="the extra `cpu` is not installed"
)
pytestmark = needs_shared

Picture = NDArray[np.uint8]


@pytest.fixture(scope="module")
def choice() -> Choice:
    return take([])


def take(said: list[str]) -> Choice:
    return resolve("yunet", range="full", min_score=0.5, models=MODELS, pull=False, log=said.append)


def pictures(clip: str, long_side_px: int, every: int) -> list[Picture]:
    with av.open(str(VIDEO / clip)) as container:
        frames = [f for n, f in enumerate(container.decode(video=0)) if n % every == 0]
        return [DetectorScaler(long_side_px)(frame) for frame in frames]


def numbers(faces: list[Detection]) -> list[float]:
    """Every figure of every face."""
    found: list[float] = []
    for face in faces:
        assert face.eyes is not None
        assert face.nose is not None
        box = face.box
        found += [face.score, box.x, box.y, box.width, box.height, *face.nose]
        found += [number for eye in face.eyes for number in eye]
    return found


@pytest.mark.parametrize("long_side_px", [320, 480, 500])
@pytest.mark.parametrize(
    "clip", ["two_people_walking.mp4", "two_people_head_pose.mp4", "sbia1a.mpg"]
)
def test_it_finds_what_opencv_finds(choice: Choice, clip: str, long_side_px: int) -> None:
    """To a hundredth of a pixel, in pictures with sides that are multiples of 32 and others."""
    one, other = choice.make(), build("yunet by opencv")
    seen = 0
    for picture in pictures(clip, long_side_px, every=20):
        expected = numbers(other.detect(picture))
        assert numbers(one.detect(picture)) == pytest.approx(expected, abs=0.01)
        seen += len(expected)
    assert seen


def test_many_that_overlap_are_merged_alike() -> None:
    """A low score leaves hundreds of candidates, of which most are of the same few faces."""
    (picture,) = pictures("two_people_head_pose.mp4", 480, every=10_000)
    wide = np.ascontiguousarray(np.tile(picture, (2, 2, 1)))
    low = resolve("yunet", range="full", min_score=0.05, models=MODELS, pull=False, log=print)
    expected = build("yunet by opencv", 0.05).detect(wide)
    assert len(expected) >= 8
    assert numbers(low.make().detect(wide)) == pytest.approx(numbers(expected), abs=0.01)


def test_threads_and_sizes_do_not_disturb_each_other(choice: Choice) -> None:
    """More threads than processors, and more sizes than have a net of their own, in turn."""
    (face,) = pictures("bbaf2n.mpg", 480, every=10_000)
    sized = [
        np.pad(face, ((0, 32 * n), (0, 0), (0, 0))) for n in range(yunet_openvino.MOST_SIZES + 2)
    ]
    expected = [numbers(choice.make().detect(picture)) for picture in sized]
    slower = build("yunet by opencv")
    for picture, found in zip(sized, expected, strict=True):
        assert found == pytest.approx(numbers(slower.detect(picture)), abs=0.01)
        assert found

    def work(number: int) -> None:
        detector = choice.make()
        for turn in (*range(number, len(sized)), *range(number)):
            assert numbers(detector.detect(sized[turn])) == expected[turn]
            assert detector.detect(np.zeros_like(sized[turn])) == []

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(work, range(5)))
    nets = choice.make()._nets  # type: ignore[attr-defined]
    assert len(nets._compiled) == yunet_openvino.MOST_SIZES + 1


def test_of_a_picture_nothing_is_left_for_a_smaller_one(choice: Choice) -> None:
    """Though both are padded to one size: a small face stands where the next has no pixels."""
    (picture,) = pictures("bbaf2n.mpg", 480, every=10_000)
    detector = choice.make()
    box = detector.detect(picture)[0].box
    side = round(max(box.width, box.height))
    top, left = round(box.y), round(box.x)
    small = cv2.resize(picture[top : top + side, left : left + side], (28, 28))
    for place, kept in (
        (np.s_[98:126, 50:78], np.s_[:97, :]),
        (np.s_[50:78, 98:126], np.s_[:, :97]),
    ):
        whole = np.zeros((128, 128, 3), np.uint8)
        whole[place] = small
        assert detector.detect(whole)
        assert detector.detect(np.zeros_like(whole)[kept]) == []


def test_the_best_comes_first() -> None:
    rows = np.array([[9.0] * 14 + [score] for score in (0.6, 0.9, 0.7)], np.float32)
    assert [face.score for face in as_detections(rows)] == pytest.approx([0.9, 0.7, 0.6])


def test_it_is_taken_where_it_is_installed() -> None:
    said: list[str] = []
    choice = take(said)
    assert choice.description == choice.make().description == "yunet by openvino"
    assert said == []


def test_without_the_extra_opencv_computes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    monkeypatch.delitem(sys.modules, "detectors.yunet_openvino", raising=False)
    said: list[str] = []
    assert take(said).description == "yunet"
    assert said == []


def test_on_a_processor_that_was_not_measured_opencv_computes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "aarch64")
    said: list[str] = []
    assert take(said).description == "yunet"
    assert said == []


def test_where_it_fails_opencv_computes_and_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("no plugin CPU\nat core.cpp:85")

    monkeypatch.setattr(yunet_openvino, "core", broken)
    said: list[str] = []
    assert take(said).description == "yunet"
    assert said == ["WARNING: openvino fails here, so faces are found by OpenCV: no plugin CPU"]


def test_signals_are_taken_after_the_last_net_is_gone() -> None:
    """Of two that were there together, as after a reload."""
    code = f"""
import gc, signal
from pathlib import Path
from detectors.yunet_openvino import Nets
model = Path({str(MODELS)!r}, "face_detection_yunet_2026may.onnx").read_bytes()
one, other = Nets(model), Nets(model)
del one
gc.collect()
del other
gc.collect()
signal.signal(signal.SIGINT, lambda *_: print("taken"))
signal.raise_signal(signal.SIGINT)
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "taken\n")


def test_its_makers_are_not_told() -> None:
    code = "import sys, detectors.yunet_openvino; print(sys.modules['openvino_telemetry'])"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "None\n"
