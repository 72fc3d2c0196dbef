"""Raw camera buffers to pictures, and what a camera that cannot be used says."""

from __future__ import annotations

import errno
import logging
import os
import threading
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import SecretStr

from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import is_full_range, plane
from daemon.sources import webcam
from daemon.sources.base import SourceCallbacks
from daemon.sources.open import open_source
from daemon.sources.webcam import Unpacker, WebcamSource, check_device
from tests.clock import Clock

Buffer = NDArray[np.uint8]
SELECT_TIMEOUT = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"


def _settings(url: str = "v4l2:///dev/video0", stall_timeout_s: float = 10.0) -> StreamSettings:
    return StreamSettings(name="cam", url=SecretStr(url), stall_timeout_s=stall_timeout_s)


def _yuyv(width: int, height: int) -> Buffer:
    """A buffer as a camera sends it: brightness grows to the right, U is 90 and V is 170."""
    buffer = np.empty((height, width, 2), np.uint8)
    buffer[:, :, 0] = np.linspace(16, 235, width, dtype=np.uint8)
    buffer[:, 0::2, 1] = 90
    buffer[:, 1::2, 1] = 170
    return buffer


def _jpeg(width: int, height: int) -> Buffer:
    bgr = np.zeros((height, width, 3), np.uint8)
    bgr[:, width // 2 :] = 255
    done, data = cv2.imencode(".jpg", bgr)
    assert done
    return np.asarray(data, np.uint8).reshape(1, -1)


@pytest.mark.parametrize(("width", "height"), [(64, 48), (66, 50), (320, 240)])
def test_yuyv_bytes_become_planes_exactly(width: int, height: int) -> None:
    sent = _yuyv(width, height)
    image = Unpacker("YUYV", width, height).unpack(sent)
    assert image is not None
    assert (image.format.name, image.width, image.height) == ("yuv420p", width, height)
    assert not is_full_range(image)
    assert image.colorspace in (5, 6)  # libav has two numbers for BT.601
    np.testing.assert_array_equal(plane(image, 0), sent[:, :, 0])
    assert set(np.unique(plane(image, 1))) == {90}
    assert set(np.unique(plane(image, 2))) == {170}


def test_an_odd_last_row_goes() -> None:
    sent = _yuyv(64, 49)
    image = Unpacker("YUYV", 64, 49).unpack(sent)
    assert image is not None
    np.testing.assert_array_equal(plane(image, 0), sent[:48, :, 0])


def test_mjpeg_bytes_become_a_full_range_picture() -> None:
    unpacker = Unpacker("MJPG", 64, 48)
    for _ in range(3):
        image = unpacker.unpack(_jpeg(64, 48))
        assert image is not None
        assert (image.format.name, image.width, image.height) == ("yuvj420p", 64, 48)
        assert is_full_range(image)
        luma = plane(image, 0)
        assert luma[:, :24].max() < 16
        assert luma[:, 40:].min() > 239


def test_damaged_buffers_give_none_and_the_next_one_is_fine() -> None:
    short = Unpacker("YUYV", 64, 48)
    assert short.unpack(_yuyv(64, 48)[:10]) is None
    unpacker = Unpacker("MJPG", 64, 48)
    assert unpacker.unpack(np.zeros((1, 500), np.uint8)) is None
    assert unpacker.unpack(np.zeros((1, 0), np.uint8)) is None
    assert unpacker.unpack(_jpeg(64, 48)) is not None


def _without_tables(jpeg: bytes) -> bytes:
    """Many webcams send no Huffman tables: they are always those of the standard."""
    at, left = 2, jpeg[:2]
    while jpeg[at + 1] != 0xDA:  # the pixels
        size = 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
        if jpeg[at + 1] != 0xC4:
            left += jpeg[at : at + size]
        at += size
    return left + jpeg[at:]


def test_a_jpeg_that_lacks_pixels_is_damaged_and_one_that_is_merely_careless_is_not() -> None:
    unpacker = Unpacker("MJPG", 320, 240)
    noise = np.random.default_rng(1).integers(0, 255, (240, 320, 3), np.uint8)
    jpeg = cv2.imencode(".jpg", noise)[1].tobytes()
    end, middle = b"\xff\xd9", len(jpeg) // 2
    often = cv2.imencode(".jpg", noise, [cv2.IMWRITE_JPEG_RST_INTERVAL, 10])[1].tobytes()
    for lacking in (jpeg[:middle], jpeg[:middle] + end, jpeg[: len(jpeg) * 19 // 20]):
        assert unpacker.unpack(np.frombuffer(lacking, np.uint8)) is None
    bare = _without_tables(jpeg)
    assert len(bare) < len(jpeg) - 400
    for careless in (
        jpeg,
        bare,
        bare[:-2],  # the end is not marked
        bare + bytes(1000),
        jpeg[:-2] + b"\xff" * 9 + end,
        jpeg[:2] + b"\xff\xe1\0\x10Exif\0\0rubbish!" + jpeg[2:],
        jpeg[:2] + jpeg,
        often,
        often.replace(b"\xff\xd3", b"stray\xff\xd3"),  # as Logitech's cameras do
    ):
        assert unpacker.unpack(np.frombuffer(careless, np.uint8)) is not None


def test_a_format_that_cannot_be_read_is_named() -> None:
    with pytest.raises(SourceError, match=r"the camera sends H264; accepted are MJPG, YUYV"):
        Unpacker("H264", 64, 48)


class _Camera:
    """Stands in for cv2.VideoCapture: test machines have no camera and no v4l2loopback.

    Gives `buffers` in turn (None: a read that failed), then fails for ever.
    """

    def __init__(self, code: str, width: int, height: int, buffers: list[Buffer | None]) -> None:
        self.settings: dict[int, float] = {}
        self.released = self.reads = 0
        self._buffers = list(buffers)
        self._answers = {
            cv2.CAP_PROP_FOURCC: float(cv2.VideoWriter.fourcc(*code)),
            cv2.CAP_PROP_FRAME_WIDTH: float(width),
            cv2.CAP_PROP_FRAME_HEIGHT: float(height),
            cv2.CAP_PROP_FPS: 30.0,
        }

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def set(self, prop: int, value: float) -> bool:
        self.settings[prop] = value
        return True

    def get(self, prop: int) -> float:
        return self._answers.get(prop, 0.0)

    def read(self) -> tuple[bool, Buffer | None]:
        self.reads += 1
        assert self.reads < 10_000
        buffer = self._buffers.pop(0) if self._buffers else None
        return buffer is not None, buffer

    def release(self) -> None:
        self.released += 1


def test_a_camera_is_asked_for_raw_pictures_and_read(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    camera = _Camera("YUYV", 64, 48, [_yuyv(64, 48), _yuyv(64, 48)[:5], _yuyv(64, 48)])
    damaged: list[int] = []
    decoded_s: list[float] = []
    source = WebcamSource(
        _settings(),
        stop=threading.Event(),
        callbacks=SourceCallbacks(
            on_damaged=lambda: damaged.append(1), on_decoded=decoded_s.append
        ),
        open_camera=lambda device: camera,
    )
    assert camera.settings == {
        cv2.CAP_PROP_CONVERT_RGB: 0,
        cv2.CAP_PROP_FOURCC: cv2.VideoWriter.fourcc(*"MJPG"),
        cv2.CAP_PROP_FRAME_WIDTH: 1280,
        cv2.CAP_PROP_FRAME_HEIGHT: 720,
        cv2.CAP_PROP_FPS: 30.0,
        cv2.CAP_PROP_BUFFERSIZE: 1,  # Else its pictures are old.
    }
    assert "/dev/video0 gives YUYV 64x48 at 30 fps (asked for 1280x720 at 30)" in caplog.text
    reader = source.frames()
    frames = [next(reader), next(reader)]
    assert [frame.seq for frame in frames] == [0, 1]
    assert frames[0].pts_s == 0.0 < frames[1].pts_s
    assert isinstance(frames[0].image, av.VideoFrame)
    assert damaged == [1]
    assert len(decoded_s) == 2
    source.close()
    assert list(reader) == []
    assert camera.released == 1


def test_who_opens_a_camera_by_its_settings_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    camera = _Camera("YUYV", 64, 48, [_yuyv(64, 48)[:5], _yuyv(64, 48)])
    monkeypatch.setattr(webcam, "check_device", lambda device: None)
    monkeypatch.setattr(webcam, "_open_v4l2", lambda device: camera)
    damaged: list[int] = []
    callbacks = SourceCallbacks(on_damaged=lambda: damaged.append(1))
    source = open_source(_settings(), stop=threading.Event(), callbacks=callbacks)
    assert next(source.frames()).seq == 0
    assert damaged == [1]


def test_a_camera_on_its_side_is_turned_as_its_stream_says() -> None:
    source = WebcamSource(
        _settings().model_copy(update={"rotate": 90, "mirror": True}),
        stop=threading.Event(),
        open_camera=lambda device: _Camera("YUYV", 64, 48, [_yuyv(64, 48)]),
    )
    luma = plane(next(source.frames()).image, 0)
    np.testing.assert_array_equal(luma, _yuyv(64, 48)[:, :, 0].T)


def test_a_camera_that_stalls_or_sends_rubbish_or_is_gone_is_a_fault() -> None:
    def fault(buffers: list[Buffer | None], device: str) -> tuple[Reason, int]:
        """What it is, and how many pictures came before."""
        clock, stop = Clock(), threading.Event()
        stop.wait = clock.wait  # type: ignore[assignment, method-assign]
        source = WebcamSource(
            _settings(f"v4l2://{device}"),
            stop=stop,
            monotonic=clock,
            open_camera=lambda device: _Camera("MJPG", 64, 48, buffers),
        )
        pictures = 0

        def watch() -> None:
            nonlocal pictures
            for _ in source.frames():
                pictures += 1
                clock.now_s += 9.0

        with pytest.raises(SourceError) as caught:
            watch()
        return caught.value.reason, pictures

    sound, rubbish = _jpeg(64, 48), np.zeros((1, 99), np.uint8)
    # A device file that stays there; now and then nothing comes, and goes on.
    assert fault([sound, sound, None, sound], "/dev/null") == (Reason.STALLED, 3)
    now_and_then = [*[rubbish] * 49, sound] * 2
    assert fault([*now_and_then, *[rubbish] * 50], "/dev/null") == (Reason.DECODE_ERROR, 2)
    assert fault([sound], "/dev/video-gone") == (Reason.NOT_FOUND, 1)


def test_a_camera_that_will_not_do_or_was_never_read_is_let_go() -> None:
    camera = _Camera("YUYV", 64, 48, [])
    WebcamSource(_settings(), stop=threading.Event(), open_camera=lambda device: camera).close()
    assert camera.released == 1
    camera = _Camera("H264", 64, 48, [])
    with pytest.raises(SourceError, match="the camera sends H264"):
        WebcamSource(_settings(), stop=threading.Event(), open_camera=lambda device: camera)
    assert camera.released == 1


def test_devices_that_cannot_be_opened_say_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SELECT_TIMEOUT, raising=False)
    with pytest.raises(SourceError, match=r"/dev/video77: there is no such device \(there is "):
        WebcamSource(_settings("/dev/video77"), stop=threading.Event())
    plain = tmp_path / "video0"
    plain.touch()
    with pytest.raises(SourceError, match="is no camera; accepted is a device such as"):
        check_device(str(plain))
    for url in ("v4l2:///dev/null", "V4L2:///dev/null"):
        with pytest.raises(SourceError, match=r"^/dev/null cannot be opened: it is no camera"):
            WebcamSource(_settings(url), stop=threading.Event())
    assert os.environ[SELECT_TIMEOUT] == "1"  # OpenCV's own are ten seconds.


def test_a_camera_that_another_program_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    # No machine of ours has a camera to hold.
    def busy(file: int, request: int, data: bytes) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr("daemon.sources.webcam.fcntl.ioctl", busy)
    with pytest.raises(SourceError, match=r"^/dev/null cannot be opened: another program uses it"):
        WebcamSource(_settings("v4l2:///dev/null"), stop=threading.Event())


def test_a_device_of_others_hints_at_the_group(monkeypatch: pytest.MonkeyPatch) -> None:
    # Tests may run as root, whom no device refuses.
    monkeypatch.setattr("daemon.sources.webcam.os.access", lambda path, mode: False)
    with pytest.raises(SourceError, match="in the group `video`") as caught:
        check_device("/dev/null")
    assert caught.value.reason is Reason.AUTH_FAILED
