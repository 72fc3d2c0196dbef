"""Whether a configuration asks for more than `affectd bench` saw this machine carry."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import numpy as np

from classifiers.errors import CheckpointError
from daemon.commands.bench.flops import face_mflop
from daemon.commands.bench.record import BenchRecord
from daemon.commands.connect import Seen
from daemon.config.settings import Settings, StreamSettings
from daemon.config.sink_settings import EncodedSinkSettings
from daemon.errors import SourceError
from daemon.sources.demo.source import parse

# What a camera is taken for that says nothing of itself before it is connected.
USUAL_PX = (1280, 720)

# docs/detectors.md
_SLOWER_THAN = {"mediapipe": ("yunet", "haar"), "yunet": ("haar",)}


@dataclass(frozen=True, slots=True)
class _Sent:
    """Pixels of a stream's pictures, pictures a second, and whether that is known."""

    px: int
    fps: float
    is_known: bool


def warning(
    settings: Settings, record: BenchRecord, cores: int, seen: Mapping[str, Seen] = {}
) -> str | None:
    """What to say of a configuration that needs more than was measured; None where it fits. `seen`
    are the streams that were connected.

    Only live streams count: files wait. Where N cameras of a size were carried and one more was
    not, each takes 1/(N+1) of the machine, and in proportion at another frame rate; between two
    sizes the shares are interpolated. Where no number of a size was too many, 1/(N+1) is the most
    that its share can be. A record without any such number, of a machine with other `cores`, or of
    one that was busy with other programs, says nothing. Where a stream costs more than those that
    were measured, by a larger net or more crops, say, that is told as well.
    """
    live = [stream for stream in settings.stream if stream.is_live]
    if record.cores != cores or record.was_busy or not live:
        return None
    if all(size.failed is None for size in record.cameras):
        return None
    sent = [_sent(stream, seen.get(stream.name), record.asked.fps) for stream in live]
    needed = sum(_share(one.px, record) * one.fps / record.asked.fps for one in sent)
    others = " and ".join(_dearer(settings, live, record))
    if needed < 1.0 - 1e-9:
        tells = "`affectd bench --config` with this file tells whether that fits"
        return f"asks for {others}: {tells}" if others else None
    unknown = sum(not one.is_known for one in sent)
    width, height = USUAL_PX
    guess = (
        f", {unknown} of them taken for {width}x{height} at {record.asked.fps} fps since a camera "
        "tells its size only when it is connected"
        if unknown
        else ""
    )
    return (
        f"asks for about {100 * needed:.0f} % of the load that was too much for this machine: "
        f"live streams: {len(live)}{guess}{others and f', and for {others}'}. Carried were "
        f"{_found(record)}; `affectd bench` measures again. Expect lost pictures, fewer crops and "
        "older readings"
    )


def _dearer(
    settings: Settings, live: Sequence[StreamSettings], record: BenchRecord
) -> Iterator[str]:
    """What of the settings costs more than what was measured, each with what was."""
    expression, detector, asked = settings.expression, settings.detector, record.asked
    if expression.enabled:
        with suppress(CheckpointError):  # a path that only the service's folder leads to
            mflop = face_mflop(expression.weights, expression.tta)
            if mflop > 1.05 * asked.face_mflop:
                yield (
                    f"{mflop:,.0f} MFLOP a face ({expression.weights}, {expression.tta}) "
                    f"where {asked.face_mflop:,.0f} were measured"
                )
        if expression.device == "cpu" and record.device == "cuda":
            yield "the processor where a graphics card was measured"
        elif expression.engine == "torch" and asked.engine != "torch float32":
            yield f"torch in float32 where {asked.engine} was measured"
    measured = asked.detector.partition(" ")[0]
    if detector.backend in _SLOWER_THAN.get(measured, ()):
        yield f"{detector.backend} where {asked.detector} was measured"
    if detector.long_side_px > asked.long_side_px:
        yield f"looking at {detector.long_side_px} px where {asked.long_side_px} px was measured"
    if "mp4" not in asked.sinks and any(
        isinstance(sink, EncodedSinkSettings) for stream in live for sink in stream.sink
    ):
        yield "pictures to be encoded where none were measured"


def _sent(stream: StreamSettings, seen: Seen | None, usual_fps: float) -> _Sent:
    if seen is not None and seen.fps:
        return _Sent(seen.width_px * seen.height_px, seen.fps, True)
    if stream.scheme == "v4l2":
        return _Sent(stream.width_px * stream.height_px, stream.fps, True)
    if stream.scheme == "demo":
        try:
            demo = parse(stream.url.get_secret_value())
        except SourceError:
            pass  # The stream says so when it starts.
        else:
            return _Sent(demo.width_px * demo.height_px, demo.fps, True)
    return _Sent(USUAL_PX[0] * USUAL_PX[1], usual_fps, False)


def _share(px: int, record: BenchRecord) -> float:
    """What a camera with pictures of `px` pixels takes of the machine."""
    sizes = [(size.width_px * size.height_px, size) for size in record.cameras]
    sizes.sort(key=lambda one: one[0])
    filled = {size_px: 1.0 / (size.most + 1) for size_px, size in sizes if size.failed}
    share = float(np.interp(px, list(filled), list(filled.values()))) * max(1.0, px / max(filled))
    carried = [
        1.0 / (size.most + 1) for size_px, size in sizes if not size.failed and px <= size_px
    ]
    return min(share, *carried) if carried else share


def _found(record: BenchRecord) -> str:
    """What was carried, when, and with which settings."""
    asked = record.asked
    cameras = ", ".join(
        f"{size.most}{'' if size.failed else ' or more'} of {size.height_px}p"
        for size in record.cameras
    )
    sinks = " and ".join(asked.sinks) or "no sink"
    return (
        f"{cameras}, at {asked.fps} fps with {asked.faces} faces each, {asked.detector}, "
        f"{asked.tta}, to {sinks}, on {record.measured_at:.10}"
    )
