"""A container that libav has opened, and the video track that is read from it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.stream import Discard, Disposition

from daemon.errors import Reason, SourceError
from daemon.redact import display_url
from daemon.sources.base import WHOLE_JPEG
from daemon.sources.decoder import accelerator, doubt
from daemon.sources.faults import may_be_card, open_fault
from daemon.sources.network import Network
from daemon.sources.picture import SQUARE, check_size
from daemon.url import local_path, split_url

OPEN_TIMEOUT_S = 10.0
# Where the frame rate is unknown, libav may report the tick rate of the container's clock.
_MOST_FPS = 1000
# PyAV 18 raises for tags that are not UTF-8, unless it is told otherwise; 19 takes all.
_READS_ANY_TAG = {"metadata_errors": "replace"} if av.__version__.startswith("18.") else {}
# These containers have their length in the header, which distinguishes a cut file from a short one.
_HONEST_LENGTH = ("mov", "matroska", "avi", "flv")
# The video tracks of these are the same pictures in several sizes.
_QUALITIES = ("hls", "dash")


@dataclass(frozen=True, slots=True, repr=False)  # The container's own repr shows a password.
class Opened:
    """An open container and its video track. `is_file`: it is a local file. `codes_pixel`: the
    pixel aspect ratio is that of the coded pictures, and the container declares no other."""

    container: av.container.InputContainer
    video: av.VideoStream
    is_file: bool
    codes_pixel: bool

    @property
    def kind(self) -> str:
        """libav's name of the container."""
        return str(self.container.format.name)

    @property
    def lies_ready(self) -> bool:
        """Whether pictures can be read faster than real time: from a file, local or on a web
        server, and from HLS and DASH, whose segments arrive as a whole."""
        if self.is_file or self.kind.startswith(_QUALITIES):
            return True
        return self.container.name.lower().startswith("http") and bool(self.container.duration)

    @property
    def is_untimed(self) -> bool:
        """Whether pictures carry no timestamps, so that libav assumes 25 a second: Motion JPEG."""
        return self.kind == "mpjpeg"

    @property
    def goes_by_dts(self) -> bool:
        """Whether pictures are timed by their dts: AVI has no pts, and those that libav guesses
        swap B-frames."""
        return self.kind == "avi"

    @property
    def codec(self) -> str:
        """libav's name of the codec, whichever decoder is used."""
        return str(self.video.codec_context.codec.canonical_name)

    @property
    def fps(self) -> float | None:
        """Pictures a second, as the container or the pictures declare; None where unknown."""
        rate = self.video.average_rate or self.video.guessed_rate
        return float(rate) if rate and rate < _MOST_FPS and not self.is_untimed else None

    @property
    def is_tiff(self) -> bool:
        return self.kind == "tiff_pipe"

    @property
    def pixel(self) -> Fraction:
        """A pixel's width divided by its height. A photo's is ignored, since it is meant for
        printing. Where the container declares none, it may change in mid-stream."""
        is_photo = self.kind in ("image2", "mpjpeg") or self.kind.endswith("_pipe")
        tells = self.video.codec_context if self.codes_pixel else self.video
        return SQUARE if is_photo else Fraction(tells.sample_aspect_ratio or SQUARE)

    @property
    def start_s(self) -> float:
        """The timestamp from which `promised_s` counts, in seconds."""
        # The length that libav writes into a Matroska file is the timestamp of its end.
        if self.kind.startswith("matroska"):
            return 0.0
        return float((self.container.start_time or 0) / av.time_base)

    @property
    def audio_start_s(self) -> float | None:
        """When the sound begins, in seconds on the clock of the pictures; None where unknown."""
        for sound in self.container.streams.audio:
            if sound.start_time is not None and sound.time_base:
                return float(sound.start_time * sound.time_base)
        return None

    @property
    def promised_s(self) -> float | None:
        """The length in a file's header, in seconds; None where there is no reliable one."""
        if not self.is_file or not self.kind.startswith(_HONEST_LENGTH):
            return None
        if any(other.discard == Discard.all for other in self.container.streams.video):
            # The container's length is that of its longest track, which may be a discarded one.
            return float((self.video.duration or 0) * (self.video.time_base or 0))
        return float((self.container.duration or 0) / av.time_base)


def open_container(
    url: str,
    *,
    live: bool,
    stall_timeout_s: float,
    network: Network,
    decoder: str,
    wait: Callable[[float], bool],
) -> Opened:
    """Open the container and choose its video track. `wait` is the stop event's `wait`.

    Raises SourceError, whose message names the source without its password.
    """
    name = display_url(url)
    target, is_file = _target(url)
    if is_file:
        _check_file(target, name)
    limit_s = min(OPEN_TIMEOUT_S, stall_timeout_s)
    accelerated = accelerator(decoder)
    options = network.options(target, stall_timeout_s)
    began_s = time.monotonic()
    try:
        container = av.open(
            f"file:{target}" if is_file else target,
            timeout=None if is_file else (limit_s, stall_timeout_s),
            options=options,
            **_READS_ANY_TAG,
            hwaccel=accelerated,
        )
    except (av.error.FFmpegError, ValueError) as error:
        waited_s = time.monotonic() - began_s
        fault = open_fault(name, target, options, error, waited_s, limit_s, wait)
        if accelerated is not None and may_be_card(error, fault):
            doubt()
        raise fault from error
    try:
        video = _choose(container, name)
    except SourceError:
        container.close()
        raise
    video.thread_type = "SLICE" if live else "AUTO"
    codes_pixel = video.sample_aspect_ratio == video.codec_context.sample_aspect_ratio
    return Opened(container, video, is_file, codes_pixel)


def _choose(container: av.container.InputContainer, name: str) -> av.VideoStream:
    # libav renders any text file as a film of letters.
    if container.format.name == "tty":
        raise SourceError(Reason.UNSUPPORTED, f"{name}: is text, not a video")
    moving = [
        video
        for video in container.streams.video
        if not video.disposition & Disposition.attached_pic
    ]
    if not moving:
        kinds = sorted({stream.type for stream in container.streams}) or ["nothing"]
        raise SourceError(
            Reason.NO_VIDEO, f"{name}: has no video track (it has {', '.join(kinds)})"
        )
    if any(video.disposition & Disposition.dependent for video in moving):
        raise SourceError(
            Reason.UNSUPPORTED,
            f"{name}: is a picture in tiles (HEIC, AVIF); accepted is a JPEG made of it",
        )
    video = moving[0]
    if container.format.name.startswith(_QUALITIES):
        video = max(moving, key=lambda one: one.width * one.height)
    for other in moving:
        if other is not video:
            other.discard = Discard.all  # Else libav would read or download it too.
    if video.codec_context is None:
        raise SourceError(Reason.UNSUPPORTED, f"{name}: libav has no decoder for it")
    if video.width and video.height:
        check_size(name, video.width, video.height)
    if video.codec_context.name == "mjpeg":
        video.codec_context.options = WHOLE_JPEG
    return video


def _target(url: str) -> tuple[str, bool]:
    """What libav opens, and whether that is a local file."""
    if (path := local_path(url)) is not None:
        return path, True
    try:
        return split_url(url).encoded(), False
    except ValueError:
        raise SourceError(
            Reason.UNSUPPORTED, f"{display_url(url)}: names no host; accepted is rtsp://HOST/PATH"
        ) from None


def _check_file(path: str, shown: str) -> None:
    """Raise SourceError for faults of a file that libav would report less clearly."""
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
