"""The overlay on real planes: what it draws, and what it leaves alone."""

from __future__ import annotations

import io
from itertools import combinations

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from daemon.config.settings import COLOURS, OverlaySettings
from daemon.draw.overlay import Overlay
from daemon.draw.paint import Rect
from daemon.frame import plane
from daemon.reading import FaceView
from tests.daemon.draw.frames import BT709, LABELS, blank, changed, drawn, planes, rgb, view


@pytest.mark.parametrize("label", [*COLOURS, None])
def test_the_border_has_the_colour_of_the_label(label: str | None) -> None:
    image = drawn(blank(), view((200, 120, 120, 140), label))
    left = image.to_ndarray(format="rgb24")[150:250, 200:202].reshape(-1, 3)
    assert np.abs(left - np.array(rgb(COLOURS[label or "unknown"]))).max() <= 6


def test_colours_come_from_the_settings() -> None:
    image = drawn(blank(), view((200, 120, 120, 140)), colours={"happy": "#FF0080"})
    pixel = image.to_ndarray(format="rgb24")[200, 200].astype(int)
    assert np.abs(pixel - (255, 0, 128)).max() <= 6


def test_a_small_face_lies_in_front_of_a_large_one() -> None:
    large, small = view((100, 60, 300, 250), "angry"), view((380, 150, 60, 60), "happy", track=2)
    for faces in ((large, small), (small, large)):
        pixel = drawn(blank(), *faces).to_ndarray(format="rgb24")[150, 399].astype(int)
        assert np.abs(pixel - rgb(COLOURS["happy"])).max() <= 6


def test_a_face_that_was_not_read_yet_has_a_thinner_border() -> None:
    def inner(label: str | None) -> int:
        image = drawn(blank(1920, 1080), view((800, 400, 300, 320), label))
        return int(plane(image, 0)[500, 803])

    assert inner(None) == 120
    assert inner("happy") != 120


def test_planes_away_from_the_face_are_untouched() -> None:
    image = blank(1280, 720)
    rng = np.random.default_rng(0)
    for index in range(3):
        part = plane(image, index)
        part[...] = rng.integers(16, 235, part.shape, np.uint8)
    before = planes(image)
    drawn(image, view((400, 300, 150, 170)))
    touched = changed(before, image)
    assert Rect(398, 200, 720, 480).covers(touched)
    assert touched.covers(Rect(400, 300, 550, 470))
    face = plane(image, 0)[310:460, 410:540]
    assert np.array_equal(face, before[0][310:460, 410:540]), "the face itself is not covered"


def scrolling(frames: int, width: int = 320, height: int = 240) -> bytes:
    """An H.264 MP4 of noise that scrolls, so that its frames predict from one another."""
    noise = np.random.default_rng(1).integers(30, 220, (height, width), np.uint8)
    chroma = np.full((height // 2, width), 128, np.uint8)
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as out:
        stream = out.add_stream("libx264", rate=25, options={"g": "250", "bf": "2", "refs": "3"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for index in range(frames):
            picture = np.vstack([np.roll(noise, (2 * index, 12 * index), (0, 1)), chroma])
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        out.mux(stream.encode())
    return file.getvalue()


def test_the_decoders_reference_is_not_drawn_on() -> None:
    """1. Encode noise that scrolls, so that every frame predicts from the ones before.
    2. Decode it once as it is, and once drawing on every frame.
    3. Outside the drawn region both give the same pictures, to the last bit.
    """
    data, frames = scrolling(20), 20

    def decode(draw: bool) -> tuple[list[NDArray[np.uint8]], list[str]]:
        overlay, pictures, kinds = Overlay(OverlaySettings()), [], []
        with av.open(io.BytesIO(data)) as container:
            for image in container.decode(video=0):
                if draw:
                    overlay.draw(image, [view((40, 60, 100, 120))])
                pictures.append(plane(image, 0).copy())
                kinds.append(PictureType(image.pict_type).name)
        return pictures, kinds

    (plain, kinds), (with_faces, _) = decode(False), decode(True)
    assert len(plain) == frames
    assert {"P", "B"} <= set(kinds)
    for one, other in zip(plain, with_faces, strict=True):
        assert np.array_equal(one[:, 260:], other[:, 260:])
        assert np.array_equal(one[200:], other[200:])
        assert not np.array_equal(one[60:64, 40:140], other[60:64, 40:140])


WIDE, HIGH = 640, 360
EDGES = {
    "left": (-30, 120, 80, 90),
    "right": (WIDE - 40, 120, 80, 90),
    "top": (200, -30, 80, 90),
    "bottom": (200, HIGH - 40, 80, 90),
    "corner": (WIDE - 40, HIGH - 40, 80, 90),
    "whole frame": (0, 0, WIDE, HIGH),
    "beyond the frame": (-500, -400, 2000, 1500),
    "huge": (-(10**9), -(10**9), 2 * 10**9, 2 * 10**9),
    "thin": (300, 100, 2, 80),
    "flat": (300, 100, 80, 2),
}


@pytest.mark.parametrize("box_px", EDGES.values(), ids=EDGES.keys())
@pytest.mark.parametrize("label", ["surprise", "unknown", None])
def test_a_face_partly_in_the_frame_is_drawn(
    box_px: tuple[int, int, int, int], label: str | None
) -> None:
    image = blank(WIDE, HIGH)
    before = planes(image)
    drawn(image, view(box_px, label, age_s=3.0))
    assert changed(before, image).area


@pytest.mark.parametrize(
    "box_px",
    [
        (-200, 100, 100, 100),
        (WIDE, 100, 100, 100),
        (100, -100, 100, 100),
        (100, HIGH + 50, 100, 100),
        (100, 100, 0, 80),
        (100, 100, 80, 0),
        (100, 100, -80, 80),
    ],
)
def test_a_face_that_is_not_in_the_frame_leaves_it_alone(
    box_px: tuple[int, int, int, int],
) -> None:
    image = blank(WIDE, HIGH)
    before = planes(image)
    drawn(image, view(box_px))
    assert not changed(before, image).area


@pytest.mark.parametrize("size", [(16, 16), (18, 14), (34, 98), (98, 34), (322, 182), (321, 181)])
@pytest.mark.parametrize("font_px", [0, 9, 400])
def test_every_size_and_no_byte_of_the_padding(size: tuple[int, int], font_px: int) -> None:
    image = blank(*size)
    padding = [(part.line_size, part.width, part.height) for part in image.planes]
    assert any(line > width for line, width, _ in padding)
    boxes = [(-4, -4, 12, 12), (2, 2, size[0] - 4, size[1] - 4), (size[0] - 5, 3, 30, 30)]
    before = planes(image)
    drawn(
        image,
        *(view(box, track=track, age_s=5.0) for track, box in enumerate(boxes)),
        font_px=font_px,
    )
    assert changed(before, image).area
    for index, (line, width, height) in enumerate(padding):
        rows = np.frombuffer(image.planes[index], np.uint8)[: line * height].reshape(height, line)
        assert (rows[:, width:] == (128 if index else 120)).all()


def test_other_pixel_formats_are_refused() -> None:
    with pytest.raises(ValueError, match=r"rgb24.*yuv420p, yuvj420p"):
        drawn(av.VideoFrame(64, 64, "rgb24"), view((8, 8, 40, 40)))


@pytest.mark.parametrize("faces", [[], [view((100, 120, 90, 90))]])
@pytest.mark.parametrize("enabled", [True, False])
def test_a_frame_is_copied_only_to_be_drawn_on(faces: list[FaceView], enabled: bool) -> None:
    """The decoder keeps a reference to its frames, so drawing on one has to copy it first."""
    with av.open(io.BytesIO(scrolling(2))) as container:
        image = next(container.decode(video=0))
        at, before = image.planes[0].buffer_ptr, planes(image)
        Overlay(OverlaySettings(enabled=enabled)).draw(image, faces)
        draws = enabled and bool(faces)
        assert (image.planes[0].buffer_ptr != at) == draws
        assert bool(changed(before, image).area) == draws


def test_the_age_is_said_only_of_an_old_reading() -> None:
    def plate(age_s: float, **settings: object) -> NDArray[np.uint8]:
        face = view((200, 120, 120, 140), age_s=age_s)
        image = drawn(blank(), face, bars=False, **settings)
        return np.asarray(image.to_ndarray(format="rgb24"))

    fresh, just, old, older = plate(0.0), plate(1.0), plate(2.1), plate(2.2)
    assert np.array_equal(fresh, just)
    assert np.array_equal(fresh, plate(2.1, stale_after_s=3.0))
    right_of_label = slice(96, 118), slice(300, 400)
    assert (fresh[right_of_label] == fresh[0, 0]).all()
    assert (old[right_of_label] != old[0, 0]).any()
    assert not np.array_equal(old[right_of_label], older[right_of_label])
    assert not np.array_equal(plate(120.0), plate(240.0))
    waiting = [
        drawn(blank(), view((200, 120, 120, 140), None, age_s=age_s)).to_ndarray()
        for age_s in (0.0, 60.0)
    ]
    assert np.array_equal(*waiting)
    fresh_spread, old_spread = (int(np.ptp(picture[200, 200])) for picture in (fresh, old))
    assert old_spread < 0.6 * fresh_spread, "an old reading's colour is faded"


def test_bars_are_as_long_as_the_probabilities() -> None:
    """Doubling a probability doubles the area of its colour in the panel."""

    def painted(share: float) -> int:
        image = blank(1920, 1080)
        image.colorspace = BT709
        drawn(image, view((800, 400, 300, 320), "disgust", share=share))
        panel = image.to_ndarray(format="rgb24")[:, 1104:].astype(int)
        return int((np.abs(panel - rgb(COLOURS["disgust"])).max(2) < 10).sum())

    assert painted(0.9) == pytest.approx(2 * painted(0.45), rel=0.1)


def test_bars_stand_one_below_the_other_as_their_names_do() -> None:
    rows = []
    for label in LABELS:
        image = blank(1920, 1080)
        image.colorspace = BT709
        drawn(image, view((800, 400, 300, 320), label, share=0.9))
        panel = image.to_ndarray(format="rgb24")[:, 1104:].astype(int)
        bar = (np.abs(panel - rgb(COLOURS[label])).max(2) < 10).sum(1) > 40
        rows.append(float(np.flatnonzero(bar).mean()))
    assert np.diff(rows) == pytest.approx((rows[-1] - rows[0]) / (len(LABELS) - 1), abs=1)
    assert rows[0] < rows[-1]


def test_text_is_as_large_as_the_settings_say_or_the_face_and_does_not_tremble() -> None:
    def above(overlay: Overlay, height: int) -> int:
        """The height of the plate above a face."""
        image = blank(1920, 1080)
        before = planes(image)
        overlay.draw(image, [view((800, 400, 300, height))])
        return 400 - changed(before, image).y0

    def first(height: int, **settings: object) -> int:
        return above(Overlay(OverlaySettings.model_validate({"bars": False, **settings})), height)

    assert first(150) < first(170) < first(190)
    assert first(150, font_px=40) == first(190, font_px=40) > first(190)
    overlay = Overlay(OverlaySettings(bars=False))
    assert [above(overlay, height) for height in (170, 160, 170)] == [first(170)] * 3


@pytest.mark.parametrize(
    ("face", "settings"),
    [
        (view((200, 120, 120, 140)), {"bars": False}),
        (view((200, 120, 120, 140), "unknown"), {}),
        (view((200, 120, 120, 140), None), {}),
        (view((200, 120, 24, 28)), {}),
    ],
    ids=["switched off", "unknown", "no reading yet", "far away"],
)
def test_no_bars(face: FaceView, settings: dict[str, object]) -> None:
    image = blank()
    before = planes(image)
    drawn(image, face, **settings)
    x, y, _, height = face.box_px
    below_plate = [part[y // 2 :] for part in before[1:]]
    after = [plane(image, index)[y // 2 :] for index in (1, 2)]
    edge = (x + face.box_px[2] + 4) // 2
    assert all(
        np.array_equal(a[:, edge:], b[:, edge:]) for a, b in zip(below_plate, after, strict=True)
    )
    assert changed(before, image).y1 <= y + height + 4


def test_the_plate_says_different_things() -> None:
    pictures = [
        drawn(blank(), view((200, 120, 120, 140), label, share=share), bars=False).to_ndarray()
        for label, share in (("happy", 0.93), ("happy", 0.94), ("sad", 0.93), ("unknown", 0.5))
    ]
    assert all(not np.array_equal(a, b) for a, b in combinations(pictures, 2))
