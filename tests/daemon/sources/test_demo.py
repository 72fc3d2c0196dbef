"""The drawn scene: what it promises about frames, schedule and faces."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from threading import Event

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.errors import Reason, SourceError
from daemon.frame import Frame, is_full_range, plane
from daemon.sources.demo.pose import EXPRESSIONS, Units, mix, pose
from daemon.sources.demo.scene import Scene
from daemon.sources.demo.script import CHANGE_S, EACH_S, ORDER
from daemon.sources.demo.source import DemoSource, parse
from detectors.base import Detector
from tests.clock import Clock
from tests.demo import expected
from tests.shared import MODELS

SMALL = "demo://test?size=320x240&fps=10&seconds=1"


def read(url: str) -> list[Frame]:
    source = DemoSource("test", url, stop=Event(), clock=lambda: 1000.0, live=False)
    return list(source.frames())


def test_frames_have_the_promised_size_format_and_times() -> None:
    frames = read(SMALL)
    assert [frame.seq for frame in frames] == list(range(10))
    assert [frame.pts_s for frame in frames] == pytest.approx([k / 10 for k in range(10)])
    assert {frame.captured_s for frame in frames} == {1000.0}
    for frame in frames:
        image = frame.image
        assert (image.width, image.height, image.format.name) == (320, 240, "yuv420p")
        assert not is_full_range(image)
        assert float(image.pts * image.time_base) == pytest.approx(frame.pts_s)
    luma, u = plane(frames[0].image, 0), plane(frames[0].image, 1)
    assert luma.min() >= 16
    assert luma.max() <= 235
    assert luma.std() > 20
    assert u.std() > 2  # colour


def test_one_seed_gives_equal_frames_and_another_seed_others() -> None:
    first, again, other = read(SMALL), read(SMALL), read(SMALL + "&seed=1")
    for a, b, c in zip(first, again, other, strict=True):
        assert np.array_equal(plane(a.image, 0), plane(b.image, 0))
        assert np.array_equal(plane(a.image, 2), plane(b.image, 2))
        assert not np.array_equal(plane(a.image, 0), plane(c.image, 0))


def test_the_faces_move() -> None:
    (x0, y0, *_), (x1, y1, *_) = expected(SMALL, 0)[0], expected(SMALL, 3)[0]
    assert math.hypot(x1 - x0, y1 - y0) > 3


def test_every_face_goes_through_the_order_and_settles_after_each_change() -> None:
    url = "demo://test?faces=3"
    period_s = EACH_S * len(ORDER)
    step_s = 0.01
    times = np.arange(0, period_s, step_s)
    shown = [expected(url, t) for t in times]
    for face in range(3):
        seen = [moment[face][2] for moment in shown]
        changes = [k for k in range(1, len(seen)) if seen[k] != seen[k - 1]]
        assert len(changes) == len(ORDER)
        for k in changes:
            assert ORDER.index(seen[k]) == (ORDER.index(seen[k - 1]) + 1) % len(ORDER)
        for name in ORDER:
            assert seen.count(name) * step_s == pytest.approx(EACH_S, abs=CHANGE_S + 2 * step_s)
        unsettled = sum(not moment[face][3] for moment in shown) * step_s
        assert unsettled == pytest.approx(CHANGE_S * len(ORDER), abs=CHANGE_S + 0.2)
    assert [x[2:] for x in expected(url, 1)] == [x[2:] for x in expected(url, 1 + period_s)]


def test_the_picture_of_a_settled_face_is_that_of_its_expression() -> None:
    """Two looks a period apart show the same; another expression changes the mouth's region."""
    options = parse("demo://test?faces=1&size=320x240")
    (actor,) = options.actors()
    still = Scene([actor], 320, 240, 0)
    by_expression = {}
    for k, name in enumerate(ORDER):
        t_s = k * EACH_S + 1.5
        assert actor.look(t_s).now == name
        assert actor.look(t_s).share >= 1.0
        by_expression[name] = still.head(actor, actor.look(t_s))
    for a in ORDER:
        for b in ORDER:
            same = by_expression[a].yuva.shape == by_expression[b].yuva.shape and np.array_equal(
                by_expression[a].yuva, by_expression[b].yuva
            )
            assert same == (a == b)


def test_action_units_move_what_they_name() -> None:
    rest, smile, jaw = pose(Units()), pose(Units({12: 1.0})), pose(Units({25: 1.0, 26: 1.0}))
    assert smile.mouth_corner[0] > rest.mouth_corner[0]  # zygomaticus major: out
    assert smile.mouth_corner[1] < rest.mouth_corner[1]  # and up
    assert rest.open_units == 0
    assert jaw.open_units > 20
    assert jaw.chin_y > rest.chin_y
    assert pose(Units({1: 1.0})).brow[0, 1] < rest.brow[0, 1]  # the inner brow rises
    assert pose(Units({4: 1.0})).brow[0, 1] > rest.brow[0, 1]  # and sinks
    closed = pose(Units({43: 1.0}))
    assert np.abs(closed.upper_lid - closed.lower_lid).max() < 2
    assert pose(Units({15: 1.0})).mouth_corner[1] > rest.mouth_corner[1]


def test_mixing_goes_from_one_expression_to_the_other() -> None:
    a, b = EXPRESSIONS["happy"], EXPRESSIONS["sad"]
    assert {au: w for au, w in mix(a, b, 0.0).items() if w} == a
    assert {au: w for au, w in mix(a, b, 1.0).items() if w} == b
    assert mix(a, b, 0.5)[12] == pytest.approx(a[12] / 2)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("faces=0", ("faces", "'0'", "from 1 to 6")),
        ("faces=two", ("faces", "'two'", "whole number")),
        ("faces=", ("faces", "whole number")),
        ("fps=900", ("fps", "'900'", "1 to 60")),
        ("size=640", ("size", "'640'", "WIDTHxHEIGHT")),
        ("size=641x480", ("size", "even")),
        ("size=8000x8000", ("size", "3840x2160")),
        ("seconds=-1", ("seconds", "'-1'", "above 0")),
        ("seconds=nan", ("seconds", "above 0")),
        ("seed=x", ("seed", "'x'")),
        ("colour=red", ("'colour'", "faces, fps, seconds, seed, size")),
    ],
)
def test_a_bad_option_is_named_with_what_is_accepted(query: str, words: tuple[str, ...]) -> None:
    with pytest.raises(SourceError) as caught:
        DemoSource("test", f"demo://test?{query}", stop=Event())
    assert caught.value.reason is Reason.UNSUPPORTED
    for word in words:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


class Pacer(Event):
    """A stop event whose waiting moves the clock instead of the world."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock

    def wait(self, timeout: float | None = None) -> bool:
        self.clock.now_s += timeout or 0.0
        return self.is_set()


def test_live_keeps_real_time_and_leaves_out_what_is_late() -> None:
    clock = Clock(now_s=50.0)
    pacer = Pacer(clock)
    source = DemoSource("test", SMALL, stop=pacer, monotonic=clock)
    seen = []
    for frame in source.frames():
        seen.append((frame.seq, round(clock.now_s - 50.0, 6)))
        if frame.seq == 3:
            clock.now_s += 0.25  # a reader that is slow once
    assert seen == [
        (0, 0.0), (1, 0.1), (2, 0.2), (3, 0.3), (5, 0.55), (6, 0.6), (7, 0.7), (8, 0.8), (9, 0.9),
    ]  # fmt: skip


@pytest.mark.parametrize("end", ["stop", "close"])
@pytest.mark.parametrize("live", [True, False])
def test_stop_and_close_end_it(end: str, live: bool) -> None:
    stop = Event()
    source = DemoSource("test", "demo://test?size=160x120", stop=stop, live=live)
    frames = source.frames()
    next(frames)
    if end == "stop":
        stop.set()
    else:
        source.close()
        source.close()
    assert list(frames) == []


def haar() -> Detector:
    from detectors.haar import Haar

    return Haar(min_score=0.5)


def mediapipe() -> Detector:
    from detectors.mediapipe import MediaPipe

    return MediaPipe((MODELS / "face_detection_short_range.tflite").read_bytes(), range="short")


def yunet() -> Detector:
    from detectors.yunet import YuNet

    return YuNet((MODELS / "face_detection_yunet_2026may.onnx").read_bytes(), min_score=0.5)


@cache
def moments() -> list[tuple[NDArray[np.uint8], list[tuple[float, float]]]]:
    """RGB pictures of settled faces and those faces' middles in pixels."""
    found = []
    for seed in (0, 1, 2):
        url = f"demo://test?size=480x270&seed={seed}"
        scene = Scene(parse(url).actors(), 480, 270, seed)
        for t_s in np.arange(1.8, EACH_S * len(ORDER), EACH_S / 2):
            faces = expected(url, t_s)
            if all(settled for *_, settled in faces):
                rgb = cv2.cvtColor(scene.draw(t_s), cv2.COLOR_YUV2RGB_I420)
                found.append((rgb, [(x, y) for x, y, *_ in faces]))
    return found


@pytest.mark.parametrize("make", [haar, mediapipe, yunet])
def test_detectors_find_the_drawn_faces_and_nothing_else(make: Callable[[], Detector]) -> None:
    try:
        detector = make()
    except FileNotFoundError as missing:
        pytest.skip(f"no model at {missing.filename}")
    faces = found = pictures = clean = 0
    for image, middles in moments():
        boxes = [detection.box for detection in detector.detect(image)]
        holds = [
            [b.x < x < b.x + b.width and b.y < y < b.y + b.height for x, y in middles]
            for b in boxes
        ]
        faces += len(middles)
        found += sum(any(box[k] for box in holds) for k in range(len(middles)))
        pictures += 1
        clean += all(any(box) for box in holds)
    detector.close()
    assert faces >= 40
    assert found >= 0.9 * faces
    assert clean >= 0.95 * pictures
