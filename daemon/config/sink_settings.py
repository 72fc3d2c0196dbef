"""The tables [[stream.sink]], one for each kind."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal, get_args

from pydantic import Field, SecretStr, field_validator, model_validator

from daemon.config.paths import FilePath
from daemon.config.table import Table
from daemon.config.urls import check_transport, with_scheme
from daemon.url import PORTS, SplitUrl, decoded, split_url

MP4_ENDINGS = (".mp4", ".m4v", ".mov")

Encoder = Literal["auto", "h264_nvenc", "h264_qsv", "h264_v4l2m2m", "libx264"]
ENCODERS: tuple[str, ...] = get_args(Encoder)[1:]  # best first
Preset = Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium"]
PRESETS: tuple[str, ...] = get_args(Preset)  # fastest first


class EncodedSinkSettings(Table):
    """The settings of every sink that encodes H.264. `crf` and `preset` are those of x264."""

    encoder: Encoder = "auto"
    crf: Annotated[int, Field(ge=0, le=51)] = 23
    preset: Preset = "ultrafast"

    @property
    def keyframe_interval_s(self) -> float:
        """Seconds between keyframes: a new viewer waits so long at most."""
        return 1.0

    @property
    def coding(self) -> tuple[object, ...]:
        """The settings of an encoder: sinks of a stream in which they are equal share one."""
        return self.encoder, self.crf, self.preset, self.keyframe_interval_s


class Mp4SinkSettings(EncodedSinkSettings):
    """A fragmented MP4 file. An existing file of that name gets a number before its ending.

    With `segmented` it becomes many, each with the time of its start in its name.
    """

    kind: Literal["mp4"]
    path: FilePath
    fragment_s: Annotated[float, Field(gt=0.0, le=10.0)] = 1.0
    segment_s: Annotated[float, Field(ge=0.0, le=1e9)] = 0.0
    segment_mb: Annotated[float, Field(ge=0.0, le=1e9)] = 0.0
    keep_days: Annotated[float, Field(ge=0.0)] = 0.0
    keep_gb: Annotated[float, Field(ge=0.0)] = 0.0

    @field_validator("path")
    @classmethod
    def _named_as_mp4(cls, value: Path) -> Path:
        if value.suffix.lower() not in MP4_ENDINGS:
            raise ValueError(
                f"found {str(value)!r}, accepted is the path of a file in {', '.join(MP4_ENDINGS)}"
            )
        return value

    @property
    def keyframe_interval_s(self) -> float:
        return self.fragment_s

    @property
    def segmented(self) -> bool:
        return self.segment_s > 0.0 or self.segment_mb > 0.0

    @model_validator(mode="after")
    def _whole_segments(self) -> Mp4SinkSettings:
        if (self.keep_days or self.keep_gb) and not self.segmented:
            raise ValueError(
                "keep_days and keep_gb delete whole segments: set segment_s or segment_mb as well"
            )
        return self


class MjpegSinkSettings(Table):
    """/streams/NAME/mjpeg"""

    kind: Literal["mjpeg"]
    quality: Annotated[int, Field(ge=1, le=100)] = 75
    max_fps: Annotated[float, Field(gt=0.0, le=120.0)] = 15.0
    max_width_px: Annotated[int, Field(ge=64, le=7680)] = 960


class HlsSinkSettings(EncodedSinkSettings):
    """/streams/NAME/hls/index.m3u8"""

    kind: Literal["hls"]
    segment_s: Annotated[float, Field(ge=1.0, le=10.0)] = 1.0

    @property
    def keyframe_interval_s(self) -> float:
        return self.segment_s


class EventsSinkSettings(Table):
    """A JSONL file that readings are appended to."""

    kind: Literal["events"]
    path: FilePath


class MqttSinkSettings(Table):
    """A broker that readings and the stream's state are published to."""

    kind: Literal["mqtt"]
    url: SecretStr
    tls_verify: bool = True
    discovery: str = "homeassistant"

    @field_validator("url")
    @classmethod
    def _names_topics(cls, value: SecretStr) -> SecretStr:
        url = split_url(with_scheme(value, "mqtt", "mqtts").get_secret_value())
        if "?" in url.tail or not _begins_topics(_prefix(url)):
            raise ValueError(
                "its path, which all topics begin with, cannot be one; "
                "accepted is a path without + # ? and $, such as mqtt://HOST/affectd"
            )
        try:
            for part in (url.user, url.password):
                decoded(part or "").encode()
        except UnicodeEncodeError:
            raise ValueError("user and password are accepted in UTF-8") from None
        return value

    @field_validator("discovery")
    @classmethod
    def _begins_topics(cls, value: str) -> str:
        if not _begins_topics(value):
            raise ValueError(
                f"found {value!r}, accepted is what topics begin with, without + # and $; "
                '"" for no discovery'
            )
        return value.strip("/")

    @property
    def prefix(self) -> str:
        """What all topics begin with."""
        return _prefix(split_url(self.url.get_secret_value()))

    @property
    def address(self) -> tuple[str, int]:
        """The broker's host and port."""
        return split_url(self.url.get_secret_value()).endpoint


def _prefix(url: SplitUrl) -> str:
    return decoded(url.tail).strip("/") or "affectd"


def _begins_topics(text: str) -> bool:
    return text.isprintable() and not re.search(r"[+#]|^/*\$", text)


class PushSinkSettings(EncodedSinkSettings):
    """The settings of every sink that pushes video to a server."""

    schemes: ClassVar[tuple[str, ...]]

    kind: str
    timeout_s: Annotated[float, Field(gt=0.0, le=120.0)] = 10.0
    url: SecretStr

    @field_validator("url")
    @classmethod
    def _scheme(cls, value: SecretStr) -> SecretStr:
        return with_scheme(value, *cls.schemes)


class RtspSinkSettings(PushSinkSettings):
    """A server that takes RTSP's RECORD, such as MediaMTX."""

    schemes = ("rtsp", "rtsps")

    kind: Literal["rtsp"]
    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = True

    @model_validator(mode="after")
    def _carried(self) -> RtspSinkSettings:
        check_transport(self.url, self.transport)
        return self


class RtmpSinkSettings(PushSinkSettings):
    """A server that takes RTMP's publish."""

    schemes = ("rtmp", "rtmps")

    kind: Literal["rtmp"]
    tls_verify: bool = True


class SrtSinkSettings(PushSinkSettings):
    """A server that listens for SRT."""

    schemes = ("srt",)

    kind: Literal["srt"]


SinkSettings = Annotated[
    Mp4SinkSettings
    | MjpegSinkSettings
    | HlsSinkSettings
    | EventsSinkSettings
    | MqttSinkSettings
    | RtspSinkSettings
    | RtmpSinkSettings
    | SrtSinkSettings,
    Field(discriminator="kind"),
]


def place(sink: SinkSettings, stream: str) -> object:
    """Where a sink of that stream writes to, in one spelling and without user and password; None
    for affectd's own page. Raises ValueError for a URL that does not validate."""
    if isinstance(sink, MqttSinkSettings):
        host, port = sink.address
        return sink.kind, host.lower(), port, sink.prefix, stream
    if isinstance(sink, PushSinkSettings):
        url = split_url(sink.url.get_secret_value())
        return url.scheme, url.host.lower(), url.port or PORTS.get(url.scheme), url.tail
    path = getattr(sink, "path", None)
    return None if path is None else os.path.realpath(path)
