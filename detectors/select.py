"""Which backend to use: decided once, then built for each stream's thread."""

from __future__ import annotations

import platform
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from detectors import store
from detectors.base import Detector, Range
from detectors.errors import BackendError, DetectorError, ModelMissingError

if TYPE_CHECKING:
    from detectors.yunet_openvino import Nets

Backend = Literal["mediapipe", "yunet", "haar"]
BackendSetting = Literal["auto", Backend]
Log = Callable[[str], None]

# Best first, as measured: docs/detectors.md.
AUTO_ORDER: tuple[Backend, ...] = ("yunet", "mediapipe")


@dataclass(frozen=True, slots=True)
class Choice:
    """A backend that works here. `make` gives each thread its own detector, or raises
    DetectorError. `description` is that of those detectors, `sha256` that of their model, None for
    Haar, whose file OpenCV brings."""

    backend: Backend
    description: str
    sha256: str | None
    make: Callable[[], Detector] = field(repr=False)  # It holds the model.


def model_of(backend: BackendSetting, range: Range) -> str | None:
    """The name of the model that a backend loads; None for Haar and for "auto"."""
    return {"mediapipe": f"blazeface-{range}", "yunet": "yunet"}.get(backend)


def resolve(
    backend: BackendSetting,
    *,
    range: Range,
    min_score: float,
    models: Path,
    pull: bool,
    log: Log,
) -> Choice:
    """Decide on a backend, pulling its model into `models` where that is allowed and needed.

    `auto` takes the best whose model is there, else pulls one, else falls back to Haar; what it
    does besides the first is told to `log`. A named backend is that or a DetectorError. Network
    and disk are asked here only, so that no stream repeats a pull that failed.
    """
    resolver = _Resolver(range, min_score, models, log)
    if backend == "haar":
        return resolver.trial("haar")
    if backend != "auto":
        return _named(resolver, backend, pull)
    for candidate in AUTO_ORDER:
        try:
            return resolver.trial(candidate)
        except ModelMissingError:
            continue
        except DetectorError as error:
            log(f"WARNING: detector {candidate} cannot be used: {error}")
    if pull:
        for candidate in AUTO_ORDER:
            try:
                resolver.pull(candidate)
                return resolver.trial(candidate)
            except DetectorError as error:
                log(f"WARNING: detector {candidate} cannot be used: {error}")
    log(
        "WARNING: no face model could be had, so faces are looked for with OpenCV's Haar cascade, "
        "which misses tilted and turned faces and costs more; "
        f"`{pull_command(models)}` brings them"
    )
    return resolver.trial("haar")


@dataclass(frozen=True, slots=True)
class _Resolver:
    """What resolving needs to know, whichever backend it tries."""

    range: Range
    min_score: float
    models: Path
    log: Log

    def trial(self, backend: Backend) -> Choice:
        """A choice that was seen to work: its detector could be built. Raises DetectorError."""
        name = model_of(backend, self.range)
        model = store.load(name, self.models) if name else b""
        make = self._maker(backend, model)
        detector = make()
        detector.close()
        sha256 = store.MODELS[name].sha256 if name else None
        return Choice(backend, detector.description, sha256, make)

    def _maker(self, backend: Backend, model: bytes) -> Callable[[], Detector]:
        if backend == "mediapipe":
            from detectors.mediapipe import MediaPipe

            return partial(MediaPipe, model, range=self.range, min_score=self.min_score)
        if backend == "haar":
            from detectors.haar import Haar

            return partial(Haar, min_score=self.min_score)
        if nets := _openvino(model, self.log):
            from detectors.yunet_openvino import YuNetOpenVINO

            return partial(YuNetOpenVINO, nets, min_score=self.min_score)
        from detectors.yunet import YuNet

        return partial(YuNet, model, min_score=self.min_score)

    def pull(self, backend: Backend) -> None:
        """Bring the backend's model. Raises PullError."""
        if name := model_of(backend, self.range):
            self.log(f"detector {backend}: pulling its model {name} into {self.models}")
            store.pull(name, self.models)


def _named(resolver: _Resolver, backend: Backend, pull: bool) -> Choice:
    try:
        return resolver.trial(backend)
    except DetectorError as error:
        if isinstance(error, BackendError):
            raise
        if not pull:
            command = f"{pull_command(resolver.models)} {model_of(backend, resolver.range)}"
            raise type(error)(f"{error}; `{command}` brings it") from error
    resolver.pull(backend)
    return resolver.trial(backend)


def pull_command(models: Path) -> str:
    """The command that brings models into this folder: who types it may be another user, whose own
    folder is another."""
    return f"AFFECTD_MODELS={shlex.quote(str(models))} affectd models pull"


def _openvino(model: bytes, log: Log) -> Nets | None:
    """YuNet for OpenVINO, where that is installed and works; measured on x86 only."""
    if platform.machine().lower() not in ("x86_64", "amd64"):
        return None
    try:
        from detectors.yunet_openvino import Nets

        return Nets(model)
    except ModuleNotFoundError:
        return None
    except (ImportError, RuntimeError) as error:
        why = (str(error).strip() or repr(error)).splitlines()[0]
        log(f"WARNING: openvino fails here, so faces are found by OpenCV: {why}")
        return None
