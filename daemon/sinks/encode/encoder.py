"""H.264 by the best encoder here: a graphics card, a chip on the board, or the processor."""

from __future__ import annotations

import logging
import os
from contextlib import closing
from fractions import Fraction

import av
from av.container import OutputContainer
from av.video.reformatter import ColorRange
from av.video.stream import VideoStream

from daemon.config.sink_settings import ENCODERS, PRESETS, EncodedSinkSettings
from daemon.frame import is_full_range
from daemon.probes import ProbeCache
from daemon.sinks.encode.reference import TIME_BASE, Referencer

log = logging.getLogger("affectd.encoder")

_INTRA = 1
_PROBE_FRAMES = 4
_USUAL_PX = (1280, 720)
# Keyframes come only where they are asked for.
_NO_OWN_KEYFRAMES = 100_000
# The frame rate that rate control assumes; the pictures come at their own times.
_RATE = 30


class Encoder:
    """Encodes pictures of one size and format. `name` is the encoder in use, `template` the stream
    whose parameters a muxer copies, `header` what a decoder has to see before the first packet;
    these three never change, outlive `close`, and may be read from any thread.

    `settings.encoder` "auto" takes the first of `ENCODERS` that works. `live` trades some
    compression for an encoder that holds no picture back. Everything raises av.FFmpegError.
    """

    def __init__(self, image: av.VideoFrame, settings: EncodedSinkSettings, *, live: bool) -> None:
        self._format = _frame_format(image)
        self._referencer = Referencer()
        self.name, codec = _open_first(image, settings, live)
        self._codec: _OpenCodec | None = codec
        self.header = codec.stream.codec_context.extradata or b""
        # A copy that holds no pictures, and that nobody encodes with.
        self._template_container = _null_container()
        self.template = self._template_container.add_stream_from_template(codec.stream)

    def fits(self, image: av.VideoFrame) -> bool:
        """Whether `image` can follow those before."""
        return self._format == _frame_format(image)

    def encode(self, image: av.VideoFrame, pts: int, *, keyframe: bool) -> list[av.Packet]:
        """The packets that `image` completes; `pts`, in TIME_BASE, must exceed that of the picture
        before. `image` is left as it was. With `keyframe` decoding can begin here."""
        assert self._codec is not None
        picture = self._referencer.reference(image, pts)
        if keyframe:
            picture.pict_type = _INTRA
        return self._codec.stream.encode(picture)

    def finish(self) -> list[av.Packet]:
        """The packets that were held back; nothing can be encoded after this."""
        try:
            return [] if self._codec is None else self._codec.stream.encode(None)
        finally:
            self.close()

    def close(self) -> None:
        """Free the codec and its pictures, some 25 MB at 1080p."""
        codec, self._codec = self._codec, None
        if codec is not None:
            codec.close()


def working() -> list[str]:
    """Those of `ENCODERS` that work here on pictures of a usual size, best first."""
    return [name for name in ENCODERS if works(name)]


def works(name: str, width: int = _USUAL_PX[0], height: int = _USUAL_PX[1]) -> bool:
    """Whether `name` passes a probe on pictures of this size, as `ProbeCache` remembers it."""
    return _probes(name, width, height)


def _passes_probe(name: str, width: int, height: int) -> bool:
    settings = EncodedSinkSettings(encoder="auto")
    image = av.VideoFrame(width, height, "yuv420p")
    for plane, level in zip(image.planes, (80, 128, 128), strict=True):
        plane.update(bytes([level]) * plane.buffer_size)
    try:
        with closing(_OpenCodec(name, image, settings, live=True)) as codec:
            referencer, packets = Referencer(), 0
            for index in range(_PROBE_FRAMES):
                picture = referencer.reference(image, index * TIME_BASE.denominator // _RATE)
                packets += len(codec.stream.encode(picture))
            packets += len(codec.stream.encode(None))
    except (av.FFmpegError, ValueError) as error:  # PyAV knows no encoder of that name: ValueError
        why = getattr(error, "strerror", None) or str(error)
        log.debug("encoder %s does not work here at %dx%d: %s", name, width, height, why)
        return False
    return packets >= _PROBE_FRAMES


_probes = ProbeCache(_passes_probe)


def _open_first(
    image: av.VideoFrame, settings: EncodedSinkSettings, live: bool
) -> tuple[str, _OpenCodec]:
    """The first encoder that the settings allow and that opens."""
    if settings.encoder != "auto":
        return settings.encoder, _OpenCodec(settings.encoder, image, settings, live=live)
    *others, last = ENCODERS
    for name in others:
        if works(name, image.width, image.height):
            try:
                return name, _OpenCodec(name, image, settings, live=live)
            except av.FFmpegError as error:
                # A graphics card encodes only so many streams at once.
                log.warning("encoder %s: %s; another one is taken", name, error.strerror)
    return last, _OpenCodec(last, image, settings, live=live)


class _OpenCodec:
    """One encoder, open. PyAV's muxers take parameters only from a stream, so it lives in a
    container that writes nothing."""

    def __init__(
        self, name: str, image: av.VideoFrame, settings: EncodedSinkSettings, *, live: bool
    ) -> None:
        self._container = _null_container()
        stream = self._container.add_stream(
            name, options=_options(name, settings, live), time_base=TIME_BASE
        )
        assert isinstance(stream, VideoStream)
        self.stream = stream
        codec = self.stream.codec_context
        codec.width, codec.height = image.width, image.height
        full = is_full_range(image)
        # x264 takes the picture's own format: to another one libav would convert it, and its range.
        codec.pix_fmt = image.format.name if name == "libx264" else _pixel_format(name)
        converted = image.format.name != codec.pix_fmt and image.format.name.startswith("yuvj")
        if converted:
            codec.color_range = ColorRange.MPEG
        else:
            codec.color_range = ColorRange.JPEG if full else image.color_range
        codec.time_base = TIME_BASE
        codec.gop_size = _NO_OWN_KEYFRAMES
        if name != "libx264":
            codec.framerate = Fraction(_RATE)
            codec.max_b_frames = 0
        if name == "h264_v4l2m2m":
            codec.bit_rate = _bit_rate(image, settings.crf)
        codec.colorspace = int(image.colorspace)
        codec.color_primaries = int(image.color_primaries)
        codec.color_trc = int(image.color_trc)
        codec.flags |= av.codec.context.Flags.global_header
        self._container.start_encoding()

    def close(self) -> None:
        """Free the codec at once: a graphics card has only so many, and container and stream hold
        each other until then."""
        self._container.close()


def _null_container() -> OutputContainer:
    container: OutputContainer = av.open(os.devnull, "w", format="null")
    return container


def _pixel_format(name: str) -> str:
    return "nv12" if name == "h264_qsv" else "yuv420p"


def _options(name: str, settings: EncodedSinkSettings, live: bool) -> dict[str, str]:
    """Quality and speed as each encoder calls them; `crf` and `preset` are x264's words."""
    quality, speed = str(settings.crf), PRESETS.index(settings.preset)
    match name:
        case "h264_nvenc":
            chosen = {"preset": f"p{speed + 1}", "rc": "vbr", "cq": quality, "forced-idr": "1"}
            return chosen | ({"tune": "ll", "delay": "0"} if live else {})
        case "h264_qsv":
            chosen = {"preset": "veryfast" if speed < 3 else settings.preset, "forced_idr": "1"}
            chosen["global_quality"] = quality
            return chosen | ({"async_depth": "1"} if live else {})
        case "h264_v4l2m2m":
            return {}
    chosen = {"preset": settings.preset, "crf": quality, "forced-idr": "1", "sc_threshold": "0"}
    return chosen | ({"tune": "zerolatency"} if live else {})


def _bit_rate(image: av.VideoFrame, crf: int) -> int:
    """Bits a second for an encoder without a quality setting: 4 Mbit/s for 1080p at crf 23, doubled
    for each 6 less, as with x264."""
    share = image.width * image.height / (1920 * 1080)
    return int(4e6 * share * 2.0 ** ((23 - crf) / 6))


def _frame_format(image: av.VideoFrame) -> tuple[object, ...]:
    return image.width, image.height, image.format.name, is_full_range(image)
