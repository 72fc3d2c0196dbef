"""Video files, http(s):// and rtsp(s):// by libav: every codec and container that PyAV has."""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Discard, Disposition

from daemon.errors import Reason, SourceError
from daemon.frame import Frame
from daemon.redact import shown
from daemon.sources.base import DAMAGED_IN_A_ROW, UNHEARD, WHOLE_JPEG, OneReader, Report
from daemon.sources.decoder import accelerator, doubt, tell_of_fallback
from daemon.sources.faults import is_timed_out, may_be_card, open_fault, read_fault, silence
from daemon.sources.network import BY_TCP, Network
from daemon.sources.picture import SQUARE, check_size, is_size, to_frame_image
from daemon.sources.tiff import holds_jpeg
from daemon.sources.timeline import Pace, Timeline
from daemon.url import local_path, split_url

log = logging.getLogger("affectd.source")

OPEN_TIMEOUT_S = 10.0
# A sound one undoes so many, and not all: libav now and then makes a picture of mere noise.
SOUND_UNDOES = 5
DEFAULT_FPS = 25.0
# These write their length at the beginning, so that a cut file can be told from a short one.
_HONEST_LENGTH = ("mov", "matroska", "avi", "flv")
_CUT_TOLERANCE_S = 0.5
# Their tracks are the same pictures in several sizes.
_QUALITIES = ("hls", "dash")


class VideoSource(OneReader):
    """One file or URL, opened by the constructor, read by one thread.

    `live` chooses the policy. A live source is decoded without frame threads, which would hold
    back a frame per core; what lies ready (a file, a segment of HLS) and is read as live keeps the
    pace of its own timestamps, like a camera. `loop` starts a file again at its end; media time
    goes on.

    A damaged packet or picture is dropped and told to `report.damaged`; `DAMAGED_IN_A_ROW`, of
    which a sound one undoes `SOUND_UNDOES`, raise SourceError(DECODE_ERROR). `cut` says so when a
    file ended before the length that its header promises. `damaged` counts what was dropped.

    Raises SourceError, whose message names the source without its password.
    """

    def __init__(
        self,
        stream: str,
        url: str,
        *,
        live: bool,
        stop: threading.Event,
        loop: bool = False,
        stall_timeout_s: float = 10.0,
        network: Network = BY_TCP,
        decoder: str = "software",
        report: Report = UNHEARD,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(stop)
        self._live = live
        self.damaged = 0
        self.cut: str | None = None
        self._name = stream
        self._loop = loop
        self._network, self._decoder = network, decoder
        self._stall_timeout_s = stall_timeout_s
        self._report = report
        self._monotonic = monotonic
        self._shown = shown(url)
        self._target, self._is_file = _target(url)
        self._has_pictures = False  # From then on, a size that cannot be is damage.
        self._container, self._video = self._open()
        tell_of_fallback(stream, decoder, self._video.codec_context)

    def _frames(self) -> Iterator[Frame]:
        rate = self._video.average_rate or self._video.guessed_rate
        timeline = Timeline(1.0 / float(rate) if rate else 1.0 / DEFAULT_FPS)
        by_arrival = self._live and not self._is_file
        pace = Pace(self._stall_timeout_s) if self._live and self._lies_ready() else None
        seq = 0
        while not self._ending():
            before = seq
            for image in self._images():
                pts_s = timeline.place(self._time(image), self._monotonic() if by_arrival else None)
                self._check_time(timeline)
                if pace is not None:
                    self._stop.wait(pace.wait_s(pts_s, self._monotonic()))
                if self._ending():
                    return
                yield Frame(self._name, seq, pts_s, time.time(), image)
                seq += 1
            if self._ending():
                return
            if seq == before:
                if not by_arrival or self.damaged:
                    raise SourceError(
                        Reason.DECODE_ERROR, f"{self._shown}: holds no picture that can be decoded"
                    )
                raise SourceError(
                    Reason.END_OF_STREAM, f"{self._shown}: ended before its first picture"
                )
            if by_arrival or not self._loop:
                return
            timeline.restart()
            self._container.close()
            self._container, self._video = self._open()

    def _free(self) -> None:
        self._container.close()

    def _time(self, image: av.VideoFrame) -> float | None:
        """Motion JPEG carries no time, and libav counts 25 a second: take when each came."""
        is_untimed = self._container.format.name == "mpjpeg"
        return self._monotonic() if is_untimed else image.time

    def _images(self) -> Iterator[av.VideoFrame]:
        """Decode once from here to the end. Yields pictures as a Frame wants them."""
        in_a_row = 0
        end_s = 0.0
        last_s = self._monotonic()
        for packet in self._packets():
            if self._ending():
                return
            if packet.pts is not None and packet.time_base is not None:
                length = packet.duration or 0
                end_s = max(end_s, float((packet.pts + length) * packet.time_base))
            images: list[av.VideoFrame] | None = []
            # Sound is read and let go, so that it cannot hide that the video stands still.
            if packet.stream.index == self._video.index:
                images = self._decode(packet)
            if images is None:
                self._drop()
                in_a_row += 1
                if in_a_row >= DAMAGED_IN_A_ROW:
                    raise SourceError(
                        Reason.DECODE_ERROR,
                        f"{self._shown}: {in_a_row} packets were damaged and hardly one was not",
                    )
            elif images:
                in_a_row = max(0, in_a_row - SOUND_UNDOES)
                yield from images
                last_s = self._monotonic()
            if self._live and self._monotonic() - last_s > self._stall_timeout_s:
                raise SourceError(
                    Reason.STALLED, f"{self._shown}: no picture for {self._stall_timeout_s:g} s"
                )
        self._look_for_cut(end_s)

    def _packets(self) -> Iterator[av.Packet]:
        limit_s = self._stall_timeout_s if self._live and not self._is_file else math.inf
        began_s = self._monotonic()
        try:
            # Its end ends the time-out, past which libav would take no leave of the server.
            with closing(self._container.demux()) as packets:
                for packet in packets:
                    # At its time-out libav first hands out what its parser held back.
                    if is_timed_out(self._monotonic() - began_s, limit_s):
                        raise silence(self._shown, limit_s)
                    yield packet
                    began_s = self._monotonic()
        except av.error.FFmpegError as error:
            raise read_fault(self._shown, error, self._stall_timeout_s) from error
        except IndexError:
            pass  # PyAV's own, at the end, over a track that came late; ours was flushed before it.

    def _decode(self, packet: av.Packet) -> list[av.VideoFrame] | None:
        """The pictures that `packet` completes; None if it is damaged."""
        began_s = time.perf_counter()
        if packet.is_corrupt:
            return None
        if self._container.format.name == "tiff_pipe" and holds_jpeg(bytes(packet)):
            raise SourceError(
                Reason.UNSUPPORTED,
                f"{self._shown}: is a TIFF compressed as JPEG; accepted are LZW, Deflate, "
                "PackBits, CCITT and none",
            )
        try:
            decoded = packet.decode()
        except av.error.EOFError:
            return []
        except av.error.FFmpegError:
            return None
        images = []
        for image in decoded:
            if image.is_corrupt or (self._has_pictures and not is_size(image.width, image.height)):
                if len(decoded) > 1:
                    self._drop()
                continue
            check_size(self._shown, image.width, image.height)
            if self._container.format.name == "avi":
                image.pts = image.dts  # It has no other times, and libav's guess swaps B-frames.
            images.append(to_frame_image(image, self._pixel()))
            self._has_pictures = True
        for _ in images:
            self._report.decoded((time.perf_counter() - began_s) / len(images))
        return images if images or not decoded else None

    def _pixel(self) -> Fraction:
        """Width by height of a pixel. A photo's is that of its print. Where the container adds none
        of its own, it may change with the pictures."""
        kind = self._container.format.name
        is_photo = kind in ("image2", "mpjpeg") or kind.endswith("_pipe")
        tells = self._video.codec_context if self._codes_pixel else self._video
        return SQUARE if is_photo else tells.sample_aspect_ratio or SQUARE

    def _drop(self) -> None:
        self.damaged += 1
        self._report.damaged()

    def _open(self) -> tuple[av.container.InputContainer, av.VideoStream]:
        """Open the container and choose its video. Raises SourceError."""
        if self._is_file:
            _check_file(self._target, self._shown)
        limit_s = min(OPEN_TIMEOUT_S, self._stall_timeout_s)
        timeouts = None if self._is_file else (limit_s, self._stall_timeout_s)
        accelerated = accelerator(self._decoder)
        options = self._network.options(self._target, self._stall_timeout_s)
        began_s = time.monotonic()
        try:
            container = av.open(
                f"file:{self._target}" if self._is_file else self._target,
                timeout=timeouts,
                options=options,
                metadata_errors="replace",
                hwaccel=accelerated,
            )
        except (av.error.FFmpegError, ValueError) as error:
            waited_s = time.monotonic() - began_s
            fault = open_fault(
                self._shown, self._target, options, error, waited_s, limit_s, self._stop.wait
            )
            if accelerated is not None and may_be_card(error, fault):
                doubt()
            raise fault from error
        try:
            video = self._choose(container)
        except SourceError:
            container.close()
            raise
        self._codes_pixel = video.sample_aspect_ratio == video.codec_context.sample_aspect_ratio
        return container, video

    def _choose(self, container: av.container.InputContainer) -> av.VideoStream:
        # libav renders any text file as a film of letters.
        if container.format.name == "tty":
            raise SourceError(Reason.UNSUPPORTED, f"{self._shown}: is text, not a video")
        moving = [
            video
            for video in container.streams.video
            if not video.disposition & Disposition.attached_pic
        ]
        if not moving:
            kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
            raise SourceError(
                Reason.NO_VIDEO, f"{self._shown}: has no video track (it has {', '.join(kinds)})"
            )
        if any(video.disposition & Disposition.dependent for video in moving):
            raise SourceError(
                Reason.UNSUPPORTED,
                f"{self._shown}: is a picture in tiles (HEIC, AVIF); accepted is a JPEG made of it",
            )
        video = moving[0]
        if container.format.name.startswith(_QUALITIES):
            video = max(moving, key=lambda one: one.width * one.height)
        for other in moving:
            if other is not video:
                other.discard = Discard.all  # Else it is fetched too.
        if video.codec_context is None:
            raise SourceError(Reason.UNSUPPORTED, f"{self._shown}: libav has no decoder for it")
        if video.width and video.height:
            check_size(self._shown, video.width, video.height)
        video.thread_type = "SLICE" if self._live else "AUTO"
        if video.codec_context.name == "mjpeg":
            video.codec_context.options = WHOLE_JPEG
        return video

    def _look_for_cut(self, end_s: float) -> None:
        container, video = self._container, self._video
        if not self._is_file or not container.format.name.startswith(_HONEST_LENGTH):
            return
        promised_s = (container.duration or 0) / av.time_base
        if any(other.discard == Discard.all for other in container.streams.video):
            # The container's length is that of the longest, which may be one of those.
            promised_s = float((video.duration or 0) * (video.time_base or 0))
        read_s = end_s
        # What libav writes of a Matroska's length is the time of its end.
        if not container.format.name.startswith("matroska"):
            read_s -= (container.start_time or 0) / av.time_base
        if self.cut is None and read_s < promised_s - _CUT_TOLERANCE_S:
            self.cut = f"{self._shown}: is cut: it ends at {read_s:.1f} s of {promised_s:.1f} s"
            log.warning("stream %s: %s", self._name, self.cut)

    def _check_time(self, timeline: Timeline) -> None:
        if timeline.stood_s() > self._stall_timeout_s:
            raise SourceError(
                Reason.STALLED,
                f"{self._shown}: its timestamps stand still for {self._stall_timeout_s:g} s",
            )

    def _lies_ready(self) -> bool:
        """Whether pictures can be had before their time: of a file, here or on a web server, and
        of HLS and DASH, whose segments come at once."""
        if self._is_file or self._container.format.name.startswith(_QUALITIES):
            return True
        return self._target.lower().startswith("http") and bool(self._container.duration)


def _target(url: str) -> tuple[str, bool]:
    """What libav opens, and whether that is a local file."""
    if (path := local_path(url)) is not None:
        return path, True
    try:
        return split_url(url).encoded(), False
    except ValueError:
        raise SourceError(
            Reason.UNSUPPORTED, f"{shown(url)}: names no host; accepted is rtsp://HOST/PATH"
        ) from None


def _check_file(path: str, shown: str) -> None:
    """Say of a file what libav would say less clearly. Raises SourceError."""
    try:
        size = Path(path).stat().st_size
    except FileNotFoundError:
        raise SourceError(Reason.NOT_FOUND, f"{shown}: there is no such file") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "is no path"
        raise SourceError(Reason.NOT_FOUND, f"{shown}: {why}") from None
    if Path(path).is_char_device():
        raise SourceError(
            Reason.UNSUPPORTED, f"{shown}: is a device; accepted for a webcam is v4l2://{path}"
        )
    if Path(path).is_file() and size == 0:
        raise SourceError(Reason.UNSUPPORTED, f"{shown}: the file is empty")
