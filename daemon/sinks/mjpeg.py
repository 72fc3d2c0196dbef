"""A stream's pictures as JPEG for viewers over HTTP; while nobody watches, they cost nothing."""

from __future__ import annotations

from fractions import Fraction

import av
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import ColorRange, Colorspace, Interpolation, VideoReformatter

from daemon.config.sink_settings import MjpegSinkSettings
from daemon.frame import colorspace_of
from daemon.sinks.base import Output, Takes, encoding
from daemon.sinks.encode.reference import Referencer
from daemon.sinks.feed import JpegFeed

# A picture that is early by up to this share of the interval is on time: camera clocks waver.
_EARLY = 0.1


class MjpegPictures:
    """Publishes to `feed`, at most `max_fps` a second and `max_width_px` wide, while somebody is
    subscribed. The feed is not closed with the sink: readers stay while a stream restarts."""

    takes: Takes = "pictures"

    def __init__(self, config: MjpegSinkSettings, feed: JpegFeed) -> None:
        self._config = config
        self._feed = feed
        self._period_s = 1.0 / config.max_fps
        self._due_s = 0.0
        self._referencer = Referencer()
        self._reformatter = VideoReformatter()
        self._encoder: JpegEncoder | None = None

    @property
    def wanted(self) -> bool:
        return self._feed.subscribers > 0

    def write(self, output: Output) -> bool:
        now_s = output.frame.captured_s
        early_s = self._due_s - now_s
        # A picture that is early by more than a period means that the clock was set back.
        if not self._feed.subscribers or _EARLY * self._period_s < early_s <= self._period_s:
            return False
        # Count from the time it was due, not from now: so 25 a second become 15 and not 12.5.
        self._due_s = self._period_s + (self._due_s if abs(early_s) < self._period_s else now_s)
        self._feed.publish(self._encode(output.frame.image))
        return True

    def close(self) -> None:
        self._encoder = None

    def _encode(self, image: av.VideoFrame) -> bytes:
        width, height = fit(image.width, image.height, self._config.max_width_px)
        with encoding("mjpeg sink"):
            own = self._referencer.reference(image, pts=0)
            picture = jpeg_form(self._reformatter, own, width, height)
            if self._encoder is None or self._encoder.size != (width, height):
                self._encoder = JpegEncoder(width, height, self._config.quality)
            return self._encoder.encode(picture)


def jpeg_form(
    reformatter: VideoReformatter, own: av.VideoFrame, width: int, height: int
) -> av.VideoFrame:
    """`own` as `JpegEncoder` takes it. Nobody else may read `own`: its colourspace is set here."""
    own.colorspace = colorspace_of(own)
    return reformatter.reformat(
        own,
        width=width,
        height=height,
        format="yuvj420p",
        interpolation=Interpolation.AREA,  # Bilinear truncates, which tints greys.
        dst_colorspace=Colorspace.ITU601,  # The only one that JFIF knows.
        dst_color_range=ColorRange.JPEG,
        threads=1,
    )


class JpegEncoder:
    """Encodes yuvj420p pictures of one size. `quality` is 1..100, as libjpeg counts."""

    def __init__(self, width: int, height: int, quality: int) -> None:
        self.size = width, height
        self._pts = 0
        quantiser = str(quantiser_of(quality))
        self._codec = VideoCodecContext.create("mjpeg", "w")
        self._codec.width, self._codec.height = width, height
        self._codec.pix_fmt = "yuvj420p"
        self._codec.color_range = ColorRange.JPEG
        self._codec.time_base = Fraction(1, 1000)
        self._codec.thread_count = 1
        self._codec.options = {"qmin": quantiser, "qmax": quantiser}

    def encode(self, picture: av.VideoFrame) -> bytes:
        """One picture as the bytes of a JPEG file. Raises av.FFmpegError."""
        self._pts += 1
        picture.pts, picture.time_base = self._pts, self._codec.time_base
        return b"".join(bytes(packet) for packet in self._codec.encode(picture))


def fit(width: int, height: int, max_width_px: int) -> tuple[int, int]:
    """The size at most `max_width_px` wide, of even sides, in the same proportion."""
    if width <= max_width_px:
        return width, height
    narrow = max_width_px // 2 * 2
    return narrow, max(2, round(height * narrow / width / 2) * 2)


def quantiser_of(quality: int) -> int:
    """libav's quantiser (1 best .. 31 worst) for a `quality` as libjpeg counts it.

    libjpeg scales its tables by 50/quality below 50 and by 2 - quality/50 above; libav scales
    its own by quantiser/8. On a photograph the two then stay within 1.3 dB up to quality 80;
    above 94 libav has no finer step.
    """
    scale = 50.0 / quality if quality < 50 else 2.0 - quality / 50.0
    return min(31, max(1, round(8.0 * scale)))
