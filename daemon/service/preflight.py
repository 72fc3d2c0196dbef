"""The checks before a start or a reload: what a configuration names that this machine lacks, and
what the daemon would refuse only later, which `affectd check` foresees.

systemd runs `check` within ExecReload=, so that `systemctl reload` fails where the daemon refuses.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from classifiers.errors import ExtraError
from daemon.config.settings import ExpressionSettings, Settings, StreamSettings
from daemon.config.sink_settings import (
    EncodedSinkSettings,
    MqttSinkSettings,
    SinkSettings,
    SrtSinkSettings,
)
from daemon.config.urls import NETWORK
from daemon.errors import SourceError, UnusableError
from daemon.url import local_path
from detectors import select, store
from detectors.errors import DetectorError

# Keys that only some sources use: the schemes of these sources, and what users call them.
_OF_SOME = {
    **dict.fromkeys(("width_px", "height_px", "fps"), (("v4l2",), "webcams")),
    "loop": (("", "file"), "files"),
    "decoder": (("", "file", *NETWORK), "files and network cameras"),
    "transport": (("rtsp", "rtsps"), "rtsp:// and rtsps://"),
    "tls_verify": (("rtsps", "rtmps", "https"), "rtsps://, rtmps:// and https://"),
}


def check(path: Path, settings: Settings) -> None:
    """Raise UnusableError with one line for each detector's model, engine, device, net, decoder,
    encoder or protocol that does not work here, each demo scene that cannot be drawn, and each
    folder where a file belongs.

    Tries what the configuration names; "auto" always passes. `path` is the configuration's.
    """
    lines = [f"{path}: {fault}" for fault in _detector_faults(settings)]
    lines += [f"{path}: expression.{fault}" for fault in _expression_faults(settings.expression)]
    lines += [
        f"{path}: stream[{at}].{fault}"
        for at, stream in enumerate(settings.stream)
        for fault in _stream_faults(stream)
    ]
    if lines:
        raise UnusableError("\n".join(lines))


def in_vain(path: Path, settings: Settings) -> Iterator[str]:
    """A line for each key that was set for a stream and has no effect on its source."""
    for at, stream in enumerate(settings.stream):
        for key, (schemes, sources) in _OF_SOME.items():
            if key in stream.model_fields_set and stream.scheme not in schemes:
                source = f"{stream.scheme}://" if stream.scheme else "a file"
                yield f"{path}: stream[{at}].{key}: is for {sources}, and does nothing for {source}"


def check_covers(settings: Settings, detector: select.Choice) -> None:
    """Raise DetectorError where faces are to be covered and only Haar is available, which misses
    turned faces. A configuration that asks for Haar by name passes."""
    streams = _covered(settings)
    if streams and detector.backend == "haar":
        command = select.pull_command(store.models_dir(settings.models.dir))
        raise DetectorError(
            f'stream {streams[0]}: privacy = "blur" wants a better detector than Haar\'s, which '
            f"misses turned faces, and none is available; accepted: bring one by `{command}`, "
            'or detector.backend = "haar"'
        )


def check_reads(settings: Settings, reads: bool) -> None:
    """Raise UnusableError where a sink takes readings and the daemon does not read faces (`reads`):
    it was started with expression.enabled = false, which only a restart can change."""
    for stream in settings.stream:
        if not reads and (kind := stream.kind_for_readings):
            raise UnusableError(
                f"stream {stream.name}: its sink of kind {kind} wants faces to be read, and "
                "affectd was started with expression.enabled = false; accepted from a restart on"
            )


def foresee_covers(settings: Settings, service: Mapping[str, str] | None) -> None:
    """Raise DetectorError where `check_covers` will, judging by the models that are there.

    `service` is the environment of a service that runs, and pulls no model at a reload. None is for
    one not started yet: nothing is raised where that may pull a model, or look for one in a folder
    that is not known here.
    """
    comes_to_more = settings.models.pull or not Path(settings.models.dir).is_absolute()
    if not _covered(settings) or (service is None and comes_to_more):
        return
    found = select.resolve(
        settings.detector.backend,
        range=settings.detector.range,
        min_score=settings.detector.min_score,
        models=store.models_dir(settings.models.dir, os.environ if service is None else service),
        pull=False,
        log=lambda _: None,
    )
    check_covers(settings, found)


def main_environ(env: Mapping[str, str]) -> dict[str, str] | None:
    """The environment that the service was started with, for a command in its ExecReload=; None
    elsewhere. The command's own may be newer, since systemd reads EnvironmentFile= again for it."""
    if not (pid := env.get("MAINPID", "")).isdecimal():
        return None
    try:
        pairs = Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return dict(env)
    found = (os.fsdecode(pair).partition("=") for pair in pairs if pair)
    return {name: value for name, _, value in found}


def _covered(settings: Settings) -> list[str]:
    """The streams whose faces are to be covered where "auto" chooses the detector."""
    if settings.detector.backend != "auto":
        return []
    return [stream.name for stream in settings.stream if stream.privacy == "blur"]


# Not `Path.is_dir`, which raises without permission: opening the file will say more.
_is_folder = os.path.isdir


# The functions below import what they need: most configurations need little of it.


def _detector_faults(settings: Settings) -> Iterator[str]:
    model = select.model_of(settings.detector.backend, settings.detector.range)
    folder = Path(settings.models.dir)
    # A relative folder is the service's own, and not known here.
    if model and folder.is_absolute() and not settings.models.pull:
        try:
            store.load(model, folder)
        except DetectorError as error:
            yield f"detector.backend: {error}, and models.pull = false"


def _expression_faults(expression: ExpressionSettings) -> Iterator[str]:
    if expression.enabled and expression.engine == "openvino":
        from classifiers.expression.engines import installed

        if expression.device == "cuda":
            yield "engine: openvino computes on the processor; with cuda accepted: auto, torch"
        elif "openvino" not in installed():
            yield (
                "engine: openvino is not installed: pip install 'affectd[cpu]'; "
                "accepted without: auto, torch"
            )
    if expression.enabled and expression.device == "cuda":
        from classifiers.expression.engines.cuda import cuda_fault

        if fault := cuda_fault():
            yield f"device: found cuda, but {fault}; accepted: auto, cpu"
    if expression.enabled and expression.weights != "default":
        from classifiers.errors import CheckpointError
        from classifiers.expression.classifier import ExpressionClassifier
        from classifiers.expression.weight_files import locate

        try:
            path = locate(expression.weights)
            # A relative path is known only if it exists here; access() says so, and never raises.
            if path.is_absolute() or os.access(path, os.F_OK):
                ExpressionClassifier.load(path, device="cpu")
        except CheckpointError as error:
            yield f"weights: {error}"


def _stream_faults(stream: StreamSettings) -> Iterator[str]:
    if stream.scheme == "demo":
        from daemon.sources.demo.source import parse

        try:
            parse(stream.url.get_secret_value())
        except SourceError as error:
            yield f"url: {error}"
    if _is_folder(local_path(stream.url.get_secret_value()) or ""):
        yield "url: is a folder; accepted is a file"
    if stream.decoder not in ("auto", "software"):
        from daemon.sources.decoder import working, works

        if not works(stream.decoder):
            accepted = ", ".join(["software", "auto", *working()])
            yield f"decoder: {stream.decoder} does not work here; accepted: {accepted}"
    for number, sink in enumerate(stream.sink):
        for fault in _sink_faults(sink):
            yield f"sink[{number}].{fault}"


def _sink_faults(sink: SinkSettings) -> Iterator[str]:
    path = getattr(sink, "path", Path())
    # A relative path is from the service's working directory, which is not known here.
    if path.is_absolute() and _is_folder(path):
        yield "path: is a folder; accepted is the path of a file"
    if isinstance(sink, MqttSinkSettings):
        try:
            import daemon.sinks.broker  # noqa: F401 - whether it can be imported
        except (ExtraError, ImportError):
            yield "kind: found mqtt, which needs paho-mqtt 2: pip install 'affectd[mqtt]'"
    if isinstance(sink, SrtSinkSettings):
        from daemon.sinks.push import has_srt

        if not has_srt():
            yield "kind: found srt, which this build of PyAV does not have; accepted: rtsp, rtmp"
    if isinstance(sink, EncodedSinkSettings) and sink.encoder != "auto":
        from daemon.sinks.encode.encoder import working, works

        if not works(sink.encoder):
            yield (
                f"encoder: {sink.encoder} does not work here, in sink {sink.kind}; "
                f"accepted: auto, {', '.join(working())}"
            )
