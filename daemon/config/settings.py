"""The schema of affectd.toml. Reading a file into it is file.py's work."""

from __future__ import annotations

import os
from collections.abc import Collection
from difflib import get_close_matches
from itertools import combinations
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from classifiers.expression import LABELS, TTA, DeviceSetting, EngineSetting
from daemon.config.paths import HomePath
from daemon.config.sink_settings import EventsSinkSettings, Mp4SinkSettings, SinkSettings, place
from daemon.config.table import Table
from daemon.config.urls import Host, HostAndPort, Origin, check_source, check_transport, is_loopback
from daemon.url import scheme_of, webcam_path

Name = Annotated[str, Field(pattern=r"^[a-z0-9_-]+$")]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-fA-F]{6}$")]
Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


def _need_known(found: object, known: Collection[str], table: str, keys: Collection[str]) -> None:
    """Raise ValueError for a key of `found` that is none of the `known` expressions, with a hint if
    it is one of the `keys` of the `table` around."""
    for label in found if isinstance(found, dict) else ():
        if label in known:
            continue
        near = [f"{table}.{label}"] if label in keys else get_close_matches(label.lower(), known, 1)
        hint = f"did you mean {near[0]}?" if near else f"accepted: {', '.join(known)}"
        raise ValueError(f"{label!r} is no expression; {hint}")


Privacy = Literal["none", "blur"]
READINGS = ("events", "mqtt")  # the kinds of sinks that take readings, and no picture

# Okabe & Ito's palette, distinct under every common colour blindness; yellow is for joy.
COLOURS = {
    "angry": "#D55E00",
    "disgust": "#009E73",
    "fear": "#CC79A7",
    "happy": "#F0E442",
    "sad": "#0072B2",
    "surprise": "#56B4E9",
    "neutral": "#E0E0E0",
    "unknown": "#606060",
}


class DaemonSettings(Table):
    """[daemon]"""

    listen: HostAndPort = "127.0.0.1:9464"
    token: SecretStr = SecretStr("")
    allow_anonymous: bool = False
    allowed_hosts: tuple[Host, ...] = ()
    allowed_origins: tuple[Origin, ...] = ()
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @field_validator("token")
    @classmethod
    def _can_be_sent(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if token != token.strip() or not token.isprintable():
            raise ValueError(
                "accepted are characters that can be printed, and no blank at either end"
            )
        return value

    @property
    def host(self) -> str:
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def port(self) -> int:
        return int(self.listen.rpartition(":")[2])

    @model_validator(mode="after")
    def _beyond_loopback(self) -> DaemonSettings:
        if not (is_loopback(self.host) or self.allow_anonymous or self.token.get_secret_value()):
            raise ValueError(
                f"listen = {self.listen!r} is beyond loopback: "
                "set token, or allow_anonymous = true if everybody may see the cameras"
            )
        return self


class ModelsSettings(Table):
    """[models]"""

    dir: HomePath = ""
    pull: bool = True


class DetectorSettings(Table):
    """[detector]"""

    backend: Literal["auto", "mediapipe", "yunet", "haar"] = "auto"
    range: Literal["short", "full"] = "full"
    min_score: Fraction = 0.5
    long_side_px: Annotated[int, Field(ge=160, le=1920)] = 480
    every: Annotated[int, Field(ge=1, le=100)] = 1


class TrackingSettings(Table):
    """[tracking]"""

    max_missing_s: Annotated[float, Field(gt=0.0, le=60.0)] = 1.0
    half_life_s: Annotated[float, Field(ge=0.0, le=60.0)] = 0.5


class ExpressionSettings(Table):
    """[expression]"""

    enabled: bool = True
    weights: HomePath = "default"
    tta: TTA = "ten_crop"
    device: DeviceSetting = "auto"
    engine: EngineSetting = "auto"
    max_batch: Annotated[int, Field(ge=1, le=1024)] = 16
    max_wait_ms: Annotated[float, Field(ge=0.0, le=1000.0)] = 10.0
    queue_crops: Annotated[int, Field(ge=1, le=65536)] = 256
    max_age_ms: Annotated[float, Field(ge=50.0, le=60000.0)] = 1000.0
    min_face_px: Annotated[int, Field(ge=0)] = 32
    max_blur: Fraction = 0.85
    max_yaw_deg: Annotated[float, Field(ge=0.0, le=90.0)] = 55.0
    unknown_below: Fraction | None = None
    prior: dict[str, Fraction] = Field(default_factory=dict)

    @field_validator("prior", mode="before")
    @classmethod
    def _known_labels(cls, value: object) -> object:
        _need_known(value, LABELS, "expression", cls.model_fields)
        return value

    @field_validator("prior")
    @classmethod
    def _can_be_shares(cls, value: dict[str, float]) -> dict[str, float]:
        total = sum(value.values())
        if len(value) == len(LABELS):
            if abs(total - 1.0) > 0.01:
                raise ValueError(f"all shares sum to {total:g}; accepted is 1")
            return {label: share / total for label, share in value.items()}
        if total > 1.0 - 1e-6:
            raise ValueError(f"shares sum to {total:g}; accepted is less than 1")
        return value


class OverlaySettings(Table):
    """[overlay]"""

    enabled: bool = True
    bars: bool = True
    font_px: Annotated[int, Field(ge=0, le=400)] = 0
    stale_after_s: Annotated[float, Field(ge=0.0)] = 1.0
    colours: dict[str, Colour] = Field(default_factory=lambda: dict(COLOURS))

    @field_validator("colours", mode="before")
    @classmethod
    def _known_labels(cls, value: object) -> object:
        _need_known(value, COLOURS, "overlay", cls.model_fields)
        return value

    @field_validator("colours")
    @classmethod
    def _and_the_others(cls, value: dict[str, str]) -> dict[str, str]:
        return {**COLOURS, **value}


class StreamSettings(Table):
    """[[stream]]"""

    name: Name
    url: SecretStr
    policy: Literal["auto", "live", "file"] = "auto"
    loop: bool = False
    stall_timeout_s: Annotated[float, Field(gt=0.0, le=600.0)] = 10.0
    transport: Literal["tcp", "udp"] = "tcp"
    tls_verify: bool = True
    decoder: Literal["software", "auto", "cuda", "vaapi"] = "software"
    rotate: Literal[0, 90, 180, 270] = 0
    mirror: bool = False
    frozen_timeout_s: Annotated[float, Field(ge=0.0, le=3600.0)] = 30.0
    width_px: Annotated[int, Field(ge=16, le=7680)] = 1280
    height_px: Annotated[int, Field(ge=16, le=4320)] = 720
    fps: Annotated[float, Field(gt=0.0, le=240.0)] = 30.0
    privacy: Privacy = "none"
    aggregate_only: bool = False
    sink: tuple[SinkSettings, ...] = ()

    @field_validator("url")
    @classmethod
    def _can_be_a_source(cls, value: SecretStr) -> SecretStr:
        check_source(value.get_secret_value())
        return value

    @model_validator(mode="after")
    def _carried(self) -> StreamSettings:
        check_transport(self.url, self.transport)
        return self

    @model_validator(mode="after")
    def _no_readings(self) -> StreamSettings:
        if self.aggregate_only and (kind := self.kind_for_readings):
            raise ValueError(
                f"aggregate_only = true writes no reading, and a sink of kind {kind} is for them; "
                "accepted is one of the two"
            )
        return self

    @field_validator("sink")
    @classmethod
    def _one_address(cls, value: tuple[SinkSettings, ...]) -> tuple[SinkSettings, ...]:
        kinds = [sink.kind for sink in value]
        for kind in ("hls", "mjpeg"):
            if kinds.count(kind) > 1:
                raise ValueError(f"two sinks are of kind {kind}, which has one address a stream")
        return value

    @property
    def kind_for_readings(self) -> str:
        """The kind of the first sink that is there for readings; empty where none is."""
        return next((sink.kind for sink in self.sink if sink.kind in READINGS), "")

    @property
    def has_pictures(self) -> bool:
        """Whether any of its sinks takes pictures; if none does, no picture leaves affectd."""
        return any(sink.kind not in READINGS for sink in self.sink)

    @property
    def scheme(self) -> str:
        """The scheme of `url`, as `scheme_of` gives it."""
        return scheme_of(self.url.get_secret_value())

    @property
    def is_live(self) -> bool:
        """True where the newest frame wins, False where every frame is kept.

        `policy` decides; `auto` means file for a path and for file://, and live for everything
        else: what ends like a file on a web server may be a camera (go2rtc's /api/stream.mp4).
        """
        if self.policy != "auto":
            return self.policy == "live"
        return self.scheme not in ("", "file")

    @property
    def holds(self) -> frozenset[object]:
        """What a stream takes for itself, in one spelling: its name, its source, and where its
        sinks write to. At a reload, a stream that takes over one of these waits until it is free.
        """
        device = webcam_path(self.url.get_secret_value())
        source = self.url if device is None else os.path.realpath(device)
        places = (place(sink, self.name) for sink in self.sink)
        return frozenset((self.name, source, *filter(None, places)))


class Settings(Table):
    """The whole file."""

    daemon: DaemonSettings = DaemonSettings()
    models: ModelsSettings = ModelsSettings()
    detector: DetectorSettings = DetectorSettings()
    tracking: TrackingSettings = TrackingSettings()
    expression: ExpressionSettings = ExpressionSettings()
    overlay: OverlaySettings = OverlaySettings()
    stream: Annotated[tuple[StreamSettings, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _unique(self) -> Settings:
        names = [stream.name for stream in self.stream]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise ValueError(
                    f"stream[{names.index(name)}].name and stream[{index}].name are both {name!r}; "
                    "each must have its own"
                )
        return self

    @model_validator(mode="after")
    def _faces_are_read(self) -> Settings:
        for stream in self.stream:
            if not self.expression.enabled and (kind := stream.kind_for_readings):
                raise ValueError(
                    f"expression.enabled = false reads no face, and the sink of kind {kind} of "
                    f"stream {stream.name!r} is for readings; accepted is one of the two"
                )
        return self

    @model_validator(mode="after")
    def _sinks_apart(self) -> Settings:
        sinks = [
            (f"stream[{at}].sink[{number}]", sink, place(sink, stream.name))
            for at, stream in enumerate(self.stream)
            for number, sink in enumerate(stream.sink)
        ]
        for (one, first, there), (other, second, here) in combinations(sinks, 2):
            if here is None or here != there or not _in_the_way(first, second):
                continue
            if isinstance(second, Mp4SinkSettings | EventsSinkSettings):
                raise ValueError(
                    f"{one}.path and {other}.path are one file, {str(second.path)!r}; "
                    "each must have its own"
                )
            raise ValueError(f"{one}.url and {other}.url are one address; each must have its own")
        return self


def _in_the_way(one: SinkSettings, other: SinkSettings) -> bool:
    """Whether two sinks that write to one place harm each other. Recordings do not, each gets a
    number of its own, unless both are segmented: old segments are deleted by name. Neither do
    events, which are appended in whole lines."""
    if isinstance(one, Mp4SinkSettings) and isinstance(other, Mp4SinkSettings):
        return one.segmented and other.segmented
    return not (one.kind == other.kind == "events")
