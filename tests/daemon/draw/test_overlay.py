"""The overlay on real planes: what it draws, and what it leaves alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import combinations

import av
import cv2
import numpy as np
import pytest
from av.video.frame import PictureType
from numpy.typing import NDArray

from daemon.config.settings import COLOURS, OverlaySettings
from daemon.draw import glyphs, placing
from daemon.draw.overlay import Overlay
from daemon.draw.paint import Canvas, ColourSystem, Rect
from daemon.draw.placing import Crowd
from daemon.frame import plane
from daemon.reading import FaceView

LABELS = tuple(label for label in COLOURS if label != "unknown")
BT709, BT601, FULL = 1, 5, 2


def blank(
    width: int = 640, height: int = 360, pixel_format: str = "yuv420p", luma: int = 120
) -> av.VideoFrame:
    """A plain grey frame whose padding, where it has any, is grey too."""
    image = av.VideoFrame(width, height, pixel_format)
    for index, part in enumerate(image.planes):
        np.frombuffer(part, np.uint8)[:] = 128 if index else luma
    image.colorspace = BT601
    return image


def view(
    box_px: tuple[int, int, int, int],
    label: str | None = "happy",
    *,
    track: int = 1,
    age_s: float = 0.1,
    share: float = 0.93,
) -> FaceView:
    rest = (1 - share) / (len(LABELS) - 1)
    odds = {} if label is None else {name: share if name == label else rest for name in LABELS}
    return FaceView(track, box_px, label, odds, age_s)


def drawn(image: av.VideoFrame, *faces: FaceView, **settings: object) -> av.VideoFrame:
    Overlay(OverlaySettings.model_validate(settings)).draw(image, faces)
    return image


def planes(image: av.VideoFrame) -> list[NDArray[np.uint8]]:
    return [plane(image, index).copy() for index in range(3)]


def changed(before: Sequence[NDArray[np.uint8]], image: av.VideoFrame) -> Rect:
    """The smallest rectangle of luma pixels around everything that differs from `before`."""
    differs = before[0] != plane(image, 0)
    for index in (1, 2):
        coarse = before[index] != plane(image, index)
        differs |= coarse.repeat(2, 0).repeat(2, 1)[: differs.shape[0], : differs.shape[1]]
    if not differs.any():
        return Rect(0, 0, 0, 0)
    rows, columns = np.flatnonzero(differs.any(1)), np.flatnonzero(differs.any(0))
    return Rect(int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1)


def rgb(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


@pytest.mark.parametrize("label", [*COLOURS, None])
def test_the_border_has_the_colour_of_the_label(label: str | None) -> None:
    image = drawn(blank(), view((200, 120, 120, 140), label))
    left = image.to_ndarray(format="rgb24")[150:250, 200:202].reshape(-1, 3)
    assert np.abs(left - np.array(rgb(COLOURS[label or "unknown"]))).max() <= 6


def test_colours_come_from_the_settings() -> None:
    image = drawn(blank(), view((200, 120, 120, 140)), colours={"happy": "#FF0080"})
    pixel = image.to_ndarray(format="rgb24")[200, 200].astype(int)
    assert np.abs(pixel - (255, 0, 128)).max() <= 6


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuvj420p"])
@pytest.mark.parametrize("colorspace", [BT601, BT709])
def test_the_colour_survives_every_matrix_and_range(pixel_format: str, colorspace: int) -> None:
    image = blank(pixel_format=pixel_format)
    image.colorspace = colorspace
    if pixel_format == "yuvj420p":
        image.color_range = FULL
    drawn(image, view((200, 120, 120, 140), "sad"))
    pixel = image.to_ndarray(format="rgb24")[200, 200].astype(int)
    assert np.abs(pixel - rgb(COLOURS["sad"])).max() <= 6


def test_paint_by_the_book() -> None:
    """Red, as ITU-R BT.601 and BT.709 give it; a silent frame goes by its height."""
    assert ColourSystem.of(blank()).paint((255, 0, 0)) == (81, 90, 240)
    hd = av.VideoFrame(1280, 720, "yuv420p")
    assert ColourSystem.of(hd).paint((255, 0, 0)) == (63, 102, 240)
    assert ColourSystem.of(av.VideoFrame(640, 480, "yuv420p")).paint((255, 0, 0))[0] == 81
    full = ColourSystem.of(blank(pixel_format="yuvj420p"))
    assert full.paint((255, 255, 255)) == (255, 128, 128)
    assert full.paint((0, 0, 255)) == (29, 255, 107)


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
    def plate(age_s: float) -> NDArray[np.uint8]:
        image = drawn(blank(), view((200, 120, 120, 140), age_s=age_s), bars=False)
        return np.asarray(image.to_ndarray(format="rgb24"))

    fresh, just, old, older = plate(0.0), plate(1.0), plate(2.1), plate(2.2)
    assert np.array_equal(fresh, just)
    right_of_label = slice(96, 118), slice(300, 400)
    assert (fresh[right_of_label] == fresh[0, 0]).all()
    assert (old[right_of_label] != old[0, 0]).any()
    assert not np.array_equal(old[right_of_label], older[right_of_label])
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


@pytest.mark.parametrize("label", ["surprise", "sad"])
@pytest.mark.parametrize(("width", "height"), [(640, 360), (1920, 1080), (3840, 2160)])
def test_text_is_large_and_stands_out(label: str, width: int, height: int) -> None:
    """Ink against plate: WCAG's 4.5, in letters of at least 1.6 % of the frame's height."""
    image = blank(width, height)
    side = height // 4
    drawn(image, view((width // 3, height // 2, side, side), label), bars=False)
    picture = image.to_ndarray(format="rgb24")
    plate = picture[height // 2 - height // 36 : height // 2, width // 3 :][:, :side]
    levels = np.sort([luminance(pixel) for pixel in plate.reshape(-1, 3)])
    assert (levels[-20] + 0.05) / (levels[19] + 0.05) >= 4.5
    top = changed(planes(blank(width, height)), image).y0
    assert height // 2 - top >= 0.016 * height


def luminance(pixel: NDArray[np.uint8]) -> float:
    value = pixel / 255
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return float(linear @ (0.2126, 0.7152, 0.0722))


@pytest.mark.parametrize("width", [40, 80, 160, 640])
@pytest.mark.parametrize("font_px", [0, 24, 400])
def test_text_fits_the_frame(width: int, font_px: int) -> None:
    """The plate's right end is in the picture: past the last letter its colour comes once more."""
    image = blank(width, 120, luma=50)
    drawn(image, view((width // 2, 70, 20, 40), age_s=9.0), font_px=font_px, bars=False)
    box_only = blank(width, 120, luma=50)
    touched = changed(planes(box_only), image)
    assert touched.y0 < 66, "there is a plate above the box"
    row = plane(image, 0)[touched.y0, touched.x0 : touched.x1]
    assert len({*row.tolist()} - {50}) <= 2, (
        "no letter is cut: the plate's edge row holds only grounds"
    )
    column = plane(image, 0)[touched.y0 : 66, touched.x1 - 1]
    assert len(np.unique(column)) == 1


def test_plates_of_faces_in_one_place_do_not_cover_each_other() -> None:
    face, frame = Rect(300, 200, 460, 380), Rect(0, 0, 1280, 720)
    taken: list[Rect] = []
    for _ in range(4):
        found = placing.plate(face, (150, 28), frame, Crowd([face]), Crowd(taken), None)
        assert found
        taken.append(found[1])
    assert not any(one.shared(other) for one, other in combinations(taken, 2))
    panel = placing.panel(face, taken[0], (110, 160), frame, Crowd(), Crowd(taken), None)
    assert panel
    assert not any(panel[1].shared(plate) for plate in taken)


def test_a_panel_that_would_hide_another_face_goes_elsewhere_or_away() -> None:
    face, plate, frame = Rect(300, 200, 460, 380), Rect(300, 172, 450, 200), Rect(0, 0, 1280, 720)
    size = 110, 160
    alone = placing.panel(face, plate, size, frame, Crowd(), Crowd([plate]), None)
    assert alone
    assert alone[1].x0 >= face.x1
    neighbour = Rect(480, 200, 640, 380)
    beside = placing.panel(face, plate, size, frame, Crowd([neighbour]), Crowd([plate]), None)
    assert beside
    assert not beside[1].shared(neighbour)
    assert placing.panel(face, plate, size, frame, Crowd([frame]), Crowd([plate]), None) is None


def test_what_is_near_is_found_whatever_its_size() -> None:
    """Against looking at each: no rectangle that shares a pixel is missed, and none comes twice."""
    rng = np.random.default_rng(0)
    corners, sizes = rng.integers(-200, 2000, (300, 2)), rng.integers(1, 600, (300, 2))
    rects = [Rect(x, y, x + w, y + h) for (x, y), (w, h) in zip(corners, sizes, strict=True)]
    crowd = Crowd(rects)
    for area in rects[:50]:
        near = crowd.near(area)
        assert len(near) == len({id(rect) for rect in near})
        assert {rect for rect in rects if rect.shared(area)} <= set(near)


def test_a_trembling_box_does_not_move_its_panel() -> None:
    """At the width where the panel goes from right to left, a jitter of 4 px changes no side."""
    overlay = Overlay(OverlaySettings())
    sides = []
    for x in (300, 470, 466, 470, 466):
        image = blank()
        overlay.draw(image, [view((x, 120, 100, 120))])
        touched = changed(planes(blank()), image)
        sides.append(touched.x0 < x - 20)
    assert sides == [False, True, True, True, True]


@pytest.mark.parametrize("x", [-60, -6, 50, 90, 200])
@pytest.mark.parametrize("y", [-40, -4, 30, 70, 200])
def test_a_canvas_cuts_off_what_lies_outside(x: int, y: int) -> None:
    """The same strokes on a frame with a margin all around, cut to the frame, are the truth."""

    def strokes(image: av.VideoFrame, dx: int, dy: int) -> None:
        canvas, paint = Canvas(image), ColourSystem.of(image).paint((240, 60, 10))
        canvas.fill(Rect(x + dx, y + dy, x + dx + 20, y + dy + 12), paint)
        canvas.tint(Rect(x + dx + 8, y + dy, x + dx + 30, y + dy + 30), paint, 0.5)
        canvas.shade(Rect(x + dx, y + dy + 4, x + dx + 40, y + dy + 8), 16, 0.5)
        canvas.write(glyphs.text("sad", 20), x + dx, y + dy, paint)

    small, large, margin = blank(96, 80), blank(96 + 512, 80 + 512), 256
    strokes(small, 0, 0)
    strokes(large, margin, margin)
    for index in range(3):
        part, step = plane(small, index), 2 if index else 1
        start = margin // step
        truth = plane(large, index)[start:][: part.shape[0], start:][:, : part.shape[1]]
        assert np.array_equal(part, truth)


def test_strips_share_a_baseline_and_halve_evenly() -> None:
    one, other = glyphs.text("happy", 17), glyphs.text("93 %", 17)
    assert one.height == other.height
    for strip in (one, other, glyphs.column(("ang", "sad"), 13, 16)):
        assert strip.luma.max() == glyphs.OPAQUE
        assert strip.luma.min() == 0
        assert strip.chroma.shape == (strip.height // 2, strip.width // 2)
        assert strip.chroma.sum() * 4 == pytest.approx(int(strip.luma.sum()), rel=0.05)


# Machado, Oliveira & Fernandes 2009, severity 1, on linear RGB.
SIGHT = {
    "protanopia": [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]],
    "deuteranopia": [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]],
    "tritanopia": [[1.256, -0.077, -0.179], [-0.078, 0.931, 0.148], [0.005, 0.691, 0.304]],
}


@pytest.mark.parametrize("matrix", SIGHT.values(), ids=SIGHT.keys())
def test_the_default_colours_differ_for_the_colour_blind(matrix: list[list[float]]) -> None:
    """Every pair is at least 15 apart in CIELAB (1976), where 2.3 is just noticeable."""

    def seen(colour: str) -> NDArray[np.float32]:
        value = np.array(rgb(colour)) / 255
        linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
        linear = np.clip(np.array(matrix) @ linear, 0, 1).astype(np.float32)
        return np.asarray(cv2.cvtColor(linear[None, None], cv2.COLOR_LRGB2LAB)[0, 0])

    for one, other in combinations(COLOURS, 2):
        apart = float(np.linalg.norm(seen(COLOURS[one]) - seen(COLOURS[other])))
        assert apart >= 15, f"{one} and {other} are {apart:.1f} apart"
