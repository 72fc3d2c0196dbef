from __future__ import annotations

import asyncio
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.config.sink_settings import MjpegSinkSettings
from daemon.sinks.feed import JpegFeed
from daemon.sinks.mjpeg import MjpegPictures, fit, quantiser_of
from tests.daemon.outputs import BT601, BT709, FULL, LIMITED, UNSPECIFIED, luma_of, output, picture


def decode(jpeg: bytes) -> NDArray[np.uint8]:
    """The picture as RGB uint8 [h, w, 3]."""
    bgr = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert bgr is not None
    return np.asarray(bgr[:, :, ::-1], np.uint8)


def watch(
    sink: MjpegPictures, feed: JpegFeed, *, captured_s: float = 0.0, **kind: Any
) -> NDArray[np.uint8]:
    """What a viewer sees of one picture."""

    async def view() -> bytes:
        async with feed.subscribe() as viewer:
            image = picture(**kind)
            assert sink.write(output(0, captured_s=captured_s, image=image))
            return await asyncio.wait_for(viewer.next(), 60.0)

    return decode(asyncio.run(view()))


@pytest.mark.parametrize(
    ("pix_fmt", "color_range", "colorspace", "height"),
    [
        ("yuv420p", LIMITED, BT601, 48),
        ("yuv420p", LIMITED, BT709, 48),
        ("yuvj420p", FULL, BT601, 48),
        ("yuvj420p", FULL, BT709, 48),
        ("yuv420p", FULL, BT709, 48),
        ("yuv420p", LIMITED, BT601, 720),
        ("yuv420p", LIMITED, UNSPECIFIED, 718),
        ("yuv420p", LIMITED, UNSPECIFIED, 720),
        ("yuvj420p", FULL, UNSPECIFIED, 720),
    ],
)
def test_colours_are_the_camera_s(
    pix_fmt: str, color_range: int, colorspace: int, height: int
) -> None:
    """Players take a picture of 720 lines for BT.709 where it says nothing."""
    kind: dict[str, Any] = {
        "height": height,
        "pix_fmt": pix_fmt,
        "color_range": color_range,
        "colorspace": colorspace,
        "chroma": (118, 146),
        "index": 20,
    }
    feed = JpegFeed()
    seen = watch(MjpegPictures(MjpegSinkSettings(kind="mjpeg", quality=95), feed), feed, **kind)
    assert seen.shape == (height, 64, 3)
    y, u, v = float(luma_of(20)), 118.0 - 128.0, 146.0 - 128.0
    if color_range == LIMITED:
        y, u, v = (y - 16) * 255 / 219, u * 255 / 224, v * 255 / 224
    kr, kb = (0.299, 0.114) if colorspace == BT601 or height == 718 else (0.2126, 0.0722)
    red, blue = y + 2 * (1 - kr) * v, y + 2 * (1 - kb) * u
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    assert seen[20, 20].astype(float) == pytest.approx([red, green, blue], abs=3)


def test_wide_pictures_are_made_smaller_and_a_new_size_goes_on() -> None:
    feed = JpegFeed()
    sink = MjpegPictures(MjpegSinkSettings(kind="mjpeg", max_width_px=100), feed)
    assert watch(sink, feed, width=400, height=200).shape == (50, 100, 3)
    assert watch(sink, feed, captured_s=1.0, width=64, height=48).shape == (48, 64, 3)
    sink.close()
    assert fit(1920, 1080, 960) == (960, 540)
    assert fit(1080, 1920, 960) == (960, 1706)
    assert fit(7680, 2, 65) == (64, 2)


def test_encodes_for_viewers_only_and_no_oftener_than_asked() -> None:
    feed = JpegFeed()
    sink = MjpegPictures(MjpegSinkSettings(kind="mjpeg", max_fps=15.0), feed)

    def run(first: int, frames: int, fps: float) -> int:
        return sum(sink.write(output(n, captured_s=first + n / fps)) for n in range(frames))

    async def view() -> list[int]:
        async with feed.subscribe() as viewer:
            counts = [run(200, 250, 25.0), run(300, 300, 30.0), run(400, 100, 10.0)]
            counts.append(run(100, 250, 25.0))  # The clock was set back.
            assert viewer.dropped == sum(counts) - 1
        return counts

    assert run(100, 50, 25.0) == 0
    assert asyncio.run(view()) == pytest.approx([150, 150, 100, 150], abs=1)
    assert run(500, 50, 25.0) == 0


def test_the_shared_picture_is_left_as_it_was() -> None:
    image = picture(5, width=1280, height=720, colorspace=UNSPECIFIED)
    image.pts, image.color_trc, image.color_primaries = 77, 1, 1
    feed = JpegFeed()
    sink = MjpegPictures(MjpegSinkSettings(kind="mjpeg"), feed)

    async def view() -> None:
        async with feed.subscribe():
            assert sink.write(output(0, image=image))

    asyncio.run(view())
    assert image.colorspace == UNSPECIFIED
    assert (image.pts, image.time_base, image.color_trc, image.color_primaries) == (77, None, 1, 1)
    assert (image.width, image.height, image.format.name) == (1280, 720, "yuv420p")


def test_quality_rises_with_its_number() -> None:
    quantisers = [quantiser_of(quality) for quality in range(1, 101)]
    assert quantisers == sorted(quantisers, reverse=True)
    assert (quantisers[0], quantisers[49], quantisers[99]) == (31, 8, 1)
