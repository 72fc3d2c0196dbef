"""A webcam by Video4Linux: what the camera sends, wrapped or decoded, never converted to BGR.

PyAV's wheels hold no v4l2 input, so OpenCV only fetches the buffers (CAP_PROP_CONVERT_RGB = 0).
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from daemon.config.settings import StreamSettings
from daemon.errors import Reason, SourceError
from daemon.frame import BT601, Frame
from daemon.sources.base import (
    DAMAGED_IN_A_ROW,
    NO_CALLBACKS,
    WHOLE_JPEG,
    Source,
    SourceCallbacks,
)
from daemon.sources.picture import AS_IT_IS, Orientation, check_size, to_frame_image
from daemon.url import webcam_path

log = logging.getLogger("affectd.source")

# Four-letter codes of V4L2 that `Unpacker` reads; cameras are asked for the first.
ACCEPTED = ("MJPG", "YUYV")
# VIDIOC_REQBUFS of linux/videodev2.h; its argument asks for 0 buffers, video capture, by mmap.
_GIVE_BACK, _BUFFERS = 0xC0145608, struct.pack("5I", 0, 1, 1, 0, 0)
_NAMES = {"MJPG": "MJPG", "JPEG": "MJPG", "YUYV": "YUYV", "YUY2": "YUYV"}


class Camera(Protocol):
    """The part of `cv2.VideoCapture` that is used here."""

    def isOpened(self) -> bool: ...  # noqa: N802

    def set(self, prop: int, value: float) -> bool: ...

    def get(self, prop: int) -> float: ...

    def read(self) -> tuple[bool, NDArray[np.uint8] | None]: ...

    def release(self) -> None: ...


class Unpacker:
    """Turns raw camera buffers of one four-letter code and size into pictures as a Frame wants
    them, with `orientation` applied.

    YUYV: 2 bytes a pixel, Y0 U Y1 V. MJPG: a JPEG file a buffer. Raises SourceError for another
    code, or a picture that is too small or too large.
    """

    def __init__(
        self, code: str, width: int, height: int, orientation: Orientation = AS_IT_IS
    ) -> None:
        if code not in _NAMES:
            raise SourceError(
                Reason.UNSUPPORTED,
                f"the camera sends {code or 'no known format'}; accepted are {', '.join(ACCEPTED)}",
            )
        self._width, self._height, self._orientation = width, height, orientation
        self._jpeg: av.VideoCodecContext | None = None
        if _NAMES[code] == "MJPG":
            self._jpeg = av.VideoCodecContext.create("mjpeg", "r")
            # Frame threads would hold pictures back.
            self._jpeg.thread_type = "SLICE"
            self._jpeg.options = WHOLE_JPEG

    def unpack(self, buffer: NDArray[np.uint8]) -> av.VideoFrame | None:
        """The picture in `buffer` (uint8 of any shape); None if it is damaged or cut short."""
        data = np.ascontiguousarray(buffer).reshape(-1)
        image = self._yuyv(data) if self._jpeg is None else self._decoded(self._jpeg, data)
        if image is None:
            return None
        check_size("the camera's picture", image.width, image.height)
        return to_frame_image(image, orientation=self._orientation)

    def _yuyv(self, data: NDArray[np.uint8]) -> av.VideoFrame | None:
        row_bytes = 2 * self._width
        if data.size < row_bytes * self._height:
            return None
        height = self._height & ~1  # An odd last row is dropped anyway, and PyAV accepts none.
        sent = data[: row_bytes * height].reshape(height, self._width, 2)
        image = av.VideoFrame.from_ndarray(sent, format="yuyv422")
        image.colorspace = BT601  # USB video's default; OpenCV does not tell what the camera says
        return image

    def _decoded(self, jpeg: av.VideoCodecContext, data: NDArray[np.uint8]) -> av.VideoFrame | None:
        if not data.size:
            return None  # The decoder takes an empty packet for the end.
        try:
            images = jpeg.decode(av.Packet(data.tobytes()))
        except av.error.FFmpegError:
            return None
        return images[-1] if images and not images[-1].is_corrupt else None


class WebcamSource(Source):
    """`v4l2:///dev/video0` or `/dev/video0`, opened by the constructor, read by one thread.

    Asks for `width_px`, `height_px` and `fps` of `stream` and logs what the camera really
    gives. Raises SourceError: NOT_FOUND, AUTH_FAILED, UNSUPPORTED, STALLED, DECODE_ERROR.
    """

    def __init__(
        self,
        stream: StreamSettings,
        *,
        stop: threading.Event,
        callbacks: SourceCallbacks = NO_CALLBACKS,
        monotonic: Callable[[], float] = time.monotonic,
        open_camera: Callable[[str], Camera] | None = None,
    ) -> None:
        super().__init__(stop)
        self._name = stream.name
        self._stall_timeout_s = stream.stall_timeout_s
        self._callbacks = callbacks
        self._monotonic = monotonic
        self._device = webcam_path(stream.url.get_secret_value()) or ""
        if open_camera is None:
            check_device(self._device)
            open_camera = _open_v4l2
        self._camera = open_camera(self._device)
        if not self._camera.isOpened():
            why = (
                "another program uses it, such as an affectd that runs"
                if _is_taken(self._device)
                else "it is no camera, or another program uses it"
            )
            raise SourceError(Reason.UNSUPPORTED, f"{self._device} cannot be opened: {why}")
        try:
            self._unpacker = self._agree(stream)
        except SourceError:
            self._camera.release()
            raise

    def _frames(self) -> Iterator[Frame]:
        seq = in_a_row = 0
        first_s: float | None = None
        last_s = self._monotonic()
        while not self._ending():
            came, buffer = self._camera.read()
            now_s = self._monotonic()
            if not came or buffer is None:
                check_device(self._device)
                if now_s - last_s > self._stall_timeout_s:
                    raise SourceError(
                        Reason.STALLED,
                        f"{self._device}: no picture for {self._stall_timeout_s:g} s",
                    )
                # A camera that was pulled out fails at once, again and again.
                self._stop.wait(0.1)
                continue
            began_s = time.perf_counter()
            image = self._unpacker.unpack(buffer)
            if image is None:
                in_a_row += 1
                self._callbacks.on_damaged()
                if in_a_row >= DAMAGED_IN_A_ROW:
                    raise SourceError(
                        Reason.DECODE_ERROR,
                        f"{self._device}: {in_a_row} damaged pictures in a row",
                    )
                continue
            self._callbacks.on_decoded(time.perf_counter() - began_s)
            in_a_row = 0
            last_s = now_s
            first_s = now_s if first_s is None else first_s
            yield Frame(self._name, seq, now_s - first_s, time.time(), image)
            seq += 1

    def _free(self) -> None:
        self._camera.release()

    def _agree(self, stream: StreamSettings) -> Unpacker:
        """Ask for format, size and rate, and log what came of it."""
        camera = self._camera
        camera.set(cv2.CAP_PROP_CONVERT_RGB, 0)
        # Uncompressed pictures of this size and rate rarely fit through USB 2.
        camera.set(cv2.CAP_PROP_FOURCC, float(cv2.VideoWriter.fourcc(*ACCEPTED[0])))
        camera.set(cv2.CAP_PROP_FRAME_WIDTH, stream.width_px)
        camera.set(cv2.CAP_PROP_FRAME_HEIGHT, stream.height_px)
        camera.set(cv2.CAP_PROP_FPS, stream.fps)
        camera.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        code = _four_letters(camera.get(cv2.CAP_PROP_FOURCC))
        width = int(camera.get(cv2.CAP_PROP_FRAME_WIDTH))
        height = int(camera.get(cv2.CAP_PROP_FRAME_HEIGHT))
        self.codec, self.fps = code.lower(), camera.get(cv2.CAP_PROP_FPS) or None
        log.info(
            "stream %s: %s gives %s %dx%d at %g fps (asked for %dx%d at %g)",
            self._name,
            self._device,
            code,
            width,
            height,
            self.fps or 0.0,
            stream.width_px,
            stream.height_px,
            stream.fps,
        )
        check_size(f"the picture of {self._device}", width, height)
        return Unpacker(code, width, height, Orientation(stream.rotate, stream.mirror))


def check_device(device: str) -> None:
    """Raise SourceError if the device file is missing, no device, or not ours to open."""
    path = Path(device)
    if not path.exists():
        there = ", ".join(sorted(str(found) for found in Path("/dev").glob("video*")))
        raise SourceError(
            Reason.NOT_FOUND, f"{device}: there is no such device (there is {there or 'none'})"
        )
    if not path.is_char_device():
        raise SourceError(
            Reason.UNSUPPORTED, f"{device} is no camera; accepted is a device such as /dev/video0"
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise SourceError(
            Reason.AUTH_FAILED,
            f"{device}: {os.strerror(errno.EACCES)}; its user has to be in the group `video`",
        )


def _is_taken(device: str) -> bool:
    """Whether another program takes pictures from the camera: while one does, V4L2 lets nobody else
    release the buffers."""
    try:
        file = os.open(device, os.O_RDWR | os.O_NONBLOCK)
        try:
            fcntl.ioctl(file, _GIVE_BACK, _BUFFERS)
        finally:
            os.close(file)
    except OSError as error:
        return error.errno == errno.EBUSY
    return False


def _open_v4l2(device: str) -> Camera:
    # Time-out of each read in seconds, by default 10, in which neither a stall nor the stop event
    # is noticed. OpenCV reads the variable once, when it first waits for a picture.
    os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "1")
    camera: Camera = cv2.VideoCapture(device, cv2.CAP_V4L2)
    return camera


def _four_letters(value: float) -> str:
    """`CAP_PROP_FOURCC` as text; empty where the camera does not say."""
    number = int(value)
    letters = bytes(number >> shift & 0xFF for shift in (0, 8, 16, 24)) if number > 0 else b""
    return letters.decode("ascii", "replace").strip("\0 ")
