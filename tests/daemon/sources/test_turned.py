"""Pictures are turned upright as their metadata says, and then as the stream's settings say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.video.reformatter import ColorRange
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps

from daemon.config.settings import StreamSettings
from daemon.frame import Frame, is_full_range, plane
from daemon.monitoring.metrics import Metrics
from daemon.sources.open import open_source
from daemon.sources.picture import Orientation, to_frame_image
from detectors.haar import Haar
from tests.daemon.sources.videos import frames_of, set_display_matrix
from tests.daemon.steps import lobby_row, stepping, walk
from tests.daemon.streams import batching, free
from tests.demo import expected
from tests.media import ramp, write_clip

Plane = NDArray[np.uint8]
# The display matrix (ISO 14496-12, 8.3.2) as a, b, c, d, and how numpy does the same.
ORIENTATIONS: dict[str, tuple[tuple[int, ...], Callable[[Plane], Plane]]] = {
    "90": ((0, 1, -1, 0), lambda rows: np.rot90(rows, -1)),
    "180": ((-1, 0, 0, -1), lambda rows: np.rot90(rows, 2)),
    "270": ((0, -1, 1, 0), lambda rows: np.rot90(rows)),
    "left for right": ((-1, 0, 0, 1), np.fliplr),
    "top for bottom": ((1, 0, 0, -1), np.flipud),
    "rows for columns": ((0, 1, 1, 0), np.transpose),
    "rows for columns, 180": ((0, -1, -1, 0), lambda rows: np.rot90(rows, 2).T),
}


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("height", [120, 121])
def test_rotation_metadata_turns_the_picture_upright(
    tmp_path: Path, orientation: str, height: int
) -> None:
    """A phone held upright writes a lying picture and `turn it clockwise by so much`; one that
    films its owner may write a mirrored one and `flip it`."""
    matrix, turn = ORIENTATIONS[orientation]
    clip = write_clip(tmp_path / "lying.mp4", height=height, width=162, pix_fmt="yuv444p", frames=3)
    lying = plane(frames_of(clip)[0].image, 0).copy()
    chroma = plane(frames_of(clip)[0].image, 1).copy()
    set_display_matrix(clip, matrix)
    image = frames_of(clip)[0].image
    turned = turn(lying)
    assert plane(image, 0).shape == turned.shape
    assert np.abs(plane(image, 0).astype(int) - turned).max() <= 8  # one row may be cropped
    assert np.abs(plane(image, 1).astype(int) - turn(chroma)).max() <= 8


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tiff"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_photo_is_turned_by_its_exif(tmp_path: Path, orientation: int, suffix: str) -> None:
    rgb = np.zeros((120, 160, 3), np.uint8)
    ramp(0, rgb)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    photo = tmp_path / f"photo.{suffix}"
    Image.fromarray(rgb).save(photo, exif=exif)
    with Image.open(photo) as image:
        upright = np.asarray(ImageOps.exif_transpose(image).convert("L"), np.int16)
    luma = plane(frames_of(photo)[0].image, 0)
    assert luma.shape == upright.shape
    assert np.corrcoef(luma.ravel(), upright.ravel())[0, 1] > 0.99


# `rotate` and `mirror`, and how numpy does the same.
TURNS: dict[tuple[int, bool], Callable[[Plane], Plane]] = {
    (0, False): lambda rows: rows,
    (90, False): lambda rows: np.rot90(rows, -1),
    (180, False): lambda rows: np.rot90(rows, 2),
    (270, False): lambda rows: np.rot90(rows),
    (0, True): np.fliplr,
    (90, True): lambda rows: np.fliplr(np.rot90(rows, -1)),
    (180, True): lambda rows: np.fliplr(np.rot90(rows, 2)),
    (270, True): lambda rows: np.fliplr(np.rot90(rows)),
}


def opened(url: Path | str, rotate: int, mirror: bool) -> list[Frame]:
    """All frames of a stream that is configured so."""
    settings: dict[str, Any] = {"rotate": rotate, "mirror": mirror, "policy": "file"}
    stream = StreamSettings.model_validate({"name": "s", "url": str(url), **settings})
    return list(open_source(stream, stop=threading.Event()).frames())


@pytest.mark.parametrize(("codec", "pix_fmt"), [("ffv1", "yuv420p"), ("mjpeg", "yuvj420p")])
@pytest.mark.parametrize("size", [(160, 120), (161, 121)])
def test_settings_turn_every_plane_and_keep_the_rest(
    tmp_path: Path, codec: str, pix_fmt: str, size: tuple[int, int]
) -> None:
    """An odd size loses its last row and column as it does unturned."""
    width, height = size
    clip = tmp_path / "c.mkv"
    write_clip(clip, width=width, height=height, codec=codec, pix_fmt=pix_fmt, frames=2)
    plain = opened(clip, 0, False)
    assert (plain[1].image.width, plain[1].image.height) == (160, 120)
    for (rotate, mirror), turn in TURNS.items():
        frames = opened(clip, rotate, mirror)
        assert [frame.pts_s for frame in frames] == [frame.pts_s for frame in plain]
        image, before = frames[1].image, plain[1].image
        for index in range(3):
            np.testing.assert_array_equal(plane(image, index), turn(plane(before, index)))
        assert is_full_range(image) == (pix_fmt == "yuvj420p")
        for name in ("pts", "time_base", "color_range", "colorspace"):
            assert getattr(image, name) == getattr(before, name)


def test_a_turned_picture_keeps_its_colour_tags() -> None:
    """Those of HLG: without them its outputs would be shown too dark and too grey."""
    tags = {"color_range": 1, "colorspace": 9, "color_primaries": 9, "color_trc": 18}
    image = av.VideoFrame(64, 48, "yuv420p")
    for name, value in tags.items():
        setattr(image, name, value)
    turned = to_frame_image(image, orientation=Orientation(90, mirrors=True))
    assert turned.width == 48
    assert {name: int(getattr(turned, name)) for name in tags} == tags


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_settings_turn_what_metadata_turned_upright(tmp_path: Path, orientation: str) -> None:
    """Also where both undo each other: what is handed on bears no matrix."""
    clip = write_clip(tmp_path / "lying.mp4", frames=1)
    set_display_matrix(clip, ORIENTATIONS[orientation][0])
    upright = frames_of(clip)[0].image
    for (rotate, mirror), turn in TURNS.items():
        image = opened(clip, rotate, mirror)[0].image
        for index in range(3):
            np.testing.assert_array_equal(plane(image, index), turn(plane(upright, index)))
        assert image.rotation == 0
        assert not image.side_data.keys()


@pytest.mark.parametrize("mirror", [False, True])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_readings_are_of_the_turned_picture(
    metrics: Metrics, tmp_path: Path, rotate: int, mirror: bool
) -> None:
    """A camera that hangs on its side or head down, which its `rotate` puts right."""
    url, back = "demo://x?faces=1&size=480x270&seconds=2&fps=1", TURNS[-rotate % 360, False]
    scene = opened(url, 0, False)[1].image

    def hanging(index: int, rgb: NDArray[np.uint8]) -> None:
        rgb[:] = back(scene.to_ndarray(format="rgb24"))

    width, height = (270, 480) if rotate % 180 else (480, 270)
    clip = write_clip(tmp_path / "c.mp4", width=width, height=height, frames=1, paint=hanging)
    with batching(free(), metrics) as batcher:
        steps = stepping(batcher, metrics, lobby_row(), keep_all=True, detector=Haar(min_score=0.5))
        (taken,) = walk(steps, opened(clip, rotate, mirror))
    (reading,) = taken.readings
    assert reading.frame_px == (480, 270)
    ((middle_x, middle_y, *_),) = expected(url, 1.0)
    x, y, width, height = reading.box_px
    assert x < (480 - middle_x if mirror else middle_x) < x + width
    assert y < middle_y < y + height


def test_the_drawn_scene_is_turned_too() -> None:
    url = "demo://x?faces=1&size=320x240&seconds=1&fps=1"
    (plain,), (turned,) = opened(url, 0, False), opened(url, 90, True)
    luma = plane(turned.image, 0)
    np.testing.assert_array_equal(luma, TURNS[90, True](plane(plain.image, 0)))
    assert turned.image.color_range == ColorRange.MPEG
