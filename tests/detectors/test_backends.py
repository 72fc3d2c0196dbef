"""Each backend on real pictures, and on pictures that no camera sends."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.frame import DetectorScaler
from detectors.base import Detector
from detectors.errors import ModelMismatchError
from detectors.mediapipe import MediaPipe
from detectors.yunet import YuNet
from tests.detectors.kinds import KINDS, build
from tests.shared import MODELS, VIDEO, needs_shared

pytestmark = needs_shared

WITH_EYES = KINDS[:4]


@pytest.fixture(scope="module", params=KINDS)
def detector(request: pytest.FixtureRequest) -> Iterator[Detector]:
    built = build(request.param)
    yield built
    built.close()


def picture(clip: str, frame: int = 0) -> NDArray[np.uint8]:
    with av.open(str(VIDEO / clip)) as container:
        for number, image in enumerate(container.decode(video=0)):
            if number == frame:
                return DetectorScaler(480)(image)
    raise AssertionError(f"{clip} has no frame {frame}")


def test_finds_the_one_face_of_a_talking_head(detector: Detector) -> None:
    faces = detector.detect(picture("bbaf2n.mpg", 10))
    assert len(faces) == 1
    box = faces[0].box
    # Eyes, nose and mouth lie within this part of the 360x288 picture.
    assert 90 < box.x + box.width / 2 < 230
    assert 120 < box.y + box.height / 2 < 215
    assert 60 < box.width < 200
    assert 0.5 <= faces[0].score <= 1.0


@pytest.mark.parametrize("kind", WITH_EYES)
def test_eyes_and_nose_are_where_they_belong(kind: str) -> None:
    detector = build(kind)
    faces = detector.detect(picture("two_people_head_pose.mp4"))
    detector.close()
    assert len(faces) == 2
    assert faces[0].score >= faces[1].score
    for face in faces:
        assert face.eyes is not None
        assert face.nose is not None
        (left_x, left_y), (right_x, right_y) = face.eyes
        box = face.box
        assert box.x <= left_x < right_x <= box.x + box.width
        assert box.y < min(left_y, right_y)
        assert max(left_y, right_y) < face.nose[1] < box.y + box.height


@pytest.mark.parametrize("kind", WITH_EYES)
def test_eyes_are_ordered_in_an_upside_down_face_too(kind: str) -> None:
    detector = build(kind)
    (face,) = detector.detect(picture("bbaf2n.mpg")[::-1, ::-1])
    detector.close()
    assert face.eyes is not None
    assert face.eyes[0][0] <= face.eyes[1][0]


def test_haar_gives_no_landmarks() -> None:
    (face,) = build("haar").detect(picture("bbaf2n.mpg"))
    assert face.eyes is None
    assert face.nose is None


def test_a_black_picture_holds_no_face(detector: Detector) -> None:
    assert detector.detect(np.zeros((270, 480, 3), np.uint8)) == []


def test_strange_sizes_hold_no_face_and_do_no_harm(detector: Detector) -> None:
    """YuNet misreads memory when a side is below 33 px, so each size comes after a real one."""
    real = picture("bbaf2n.mpg")
    expected = detector.detect(real)
    for size in [(2, 2), (1, 1), (3, 7), (101, 77), (480, 2), (2, 480), (20, 480), (33, 65)]:
        assert detector.detect(np.zeros((*size, 3), np.uint8)) == [], size
        assert detector.detect(real) == expected


def test_a_face_at_the_border_keeps_its_place(detector: Detector) -> None:
    """Cutting the picture through the face's outer part moves its box by the cut, no more."""
    real = picture("sbia1a.mpg")
    (whole,) = detector.detect(real)
    cut_px = round(whole.box.x + 0.02 * whole.box.width)
    (face,) = detector.detect(real[:, cut_px:])
    assert face.box.x + cut_px == pytest.approx(whole.box.x, abs=0.25 * whole.box.width)
    assert face.box.width == pytest.approx(whole.box.width, rel=0.35)


def test_a_higher_score_is_asked_for() -> None:
    image = picture("man_signing.mp4")
    for kind in KINDS:
        strict = build(kind, min_score=1.0)
        assert strict.detect(image) == []
        strict.close()


@pytest.mark.parametrize("backend", [MediaPipe, YuNet])
def test_content_that_is_no_model(backend: type[MediaPipe | YuNet]) -> None:
    with pytest.raises(ModelMismatchError, match="does not load this face model"):
        backend(b"no model" * 100)


def test_mediapipe_loads_late_and_silently() -> None:
    """1. Other backends leave mediapipe alone. 2. It chats to nobody. 3. Errors still pass."""
    code = f"""
import os, sys
from pathlib import Path
from detectors.select import resolve
from detectors.quiet import quiet
options = dict(min_score=0.5, models=Path({str(MODELS)!r}), pull=False, log=lambda _: None)
resolve("yunet", range="full", **options).make().close()
assert "mediapipe" not in sys.modules
for range in ("short", "full"):
    resolve("mediapipe", range=range, **options).make().close()
with quiet():
    os.write(2, b"INFO: chatter\\nERROR: a real one\\n")
"""
    older = "import os\ndel os.memfd_create\n"  # A Python that was built for an old glibc.
    for whole in (code, older + code):
        run = subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True)
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "ERROR: a real one\n")


TWO_AT_ONCE = """
import os, threading
from contextlib import suppress
from detectors.quiet import quiet
within, left = threading.Event(), threading.Event()
def load():
    with quiet():
        within.set()
        left.wait()
other = threading.Thread(target=load)
with quiet():
    other.start()
    within.wait(0.3)
left.set()
other.join()
with suppress(ValueError), quiet():
    raise ValueError
os.write(2, b"heard\\n")
"""


def test_models_that_load_at_once_or_fail_leave_errors_their_way() -> None:
    """Where one began within another and outlived it, errors would be written to nowhere."""
    run = subprocess.run([sys.executable, "-c", TWO_AT_ONCE], capture_output=True, text=True)
    assert (run.returncode, run.stderr) == (0, "heard\n")


LOOK_AND_CLOSE = f"""
import os, time, urllib.request
import numpy as np
from pathlib import Path
put = os.putenv
nowhere = os.environ["NOWHERE"]
os.putenv = lambda name, value: put(name, nowhere if value == "http://127.0.0.1:9" else value)
from detectors.mediapipe import MediaPipe
model = Path({str(MODELS)!r}, "face_detection_short_range.tflite")
detector = MediaPipe(model.read_bytes(), range="short")
detector.detect(np.zeros((240, 320, 3), np.uint8))
detector.close()
time.sleep(2.0)
print(urllib.request.getproxies()["https"])
"""


@pytest.mark.parametrize("no_proxy", ["", "*", "10.0.0.1, .googleapis.com"])
def test_mediapipe_tells_nobody_of_its_use(no_proxy: str) -> None:
    """1. What it would tell its makers goes where, but for this test, nothing is. 2. It does not
    go to the user's proxy, which stays the one that models are fetched through."""
    with socket.create_server(("127.0.0.1", 0)) as proxy, socket.create_server(("", 0)) as nowhere:
        address, dead = (f"http://127.0.0.1:{one.getsockname()[1]}" for one in (proxy, nowhere))
        env = os.environ | {"https_proxy": address, "no_proxy": no_proxy, "NOWHERE": dead}
        command = [sys.executable, "-c", LOOK_AND_CLOSE]
        run = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
        assert [asked_of(one) for one in (proxy, nowhere)] == ["", "CONNECT play.googleapis.com"]
    assert run.stdout == f"{address}\n"


def asked_of(server: socket.socket) -> str:
    server.settimeout(0.0)
    with suppress(BlockingIOError), server.accept()[0] as connection:
        return connection.recv(1000).decode().partition(":")[0]
    return ""
