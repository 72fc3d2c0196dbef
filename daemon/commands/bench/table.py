"""What a measurement found, for somebody who reads it for the first time."""

from __future__ import annotations

import textwrap

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from daemon.commands.bench.cameras import FRAMES_SHARE
from daemon.commands.bench.record import SIZES, BenchRecord, Cameras, Load

NOT_TOLD = "not told"
USUAL_PX = 720
WIDTH = 80


def show(record: BenchRecord, out: Console) -> None:
    """Print the record; it fits 80 columns."""
    out.print(_whole(record))


def sentence(record: BenchRecord) -> str:
    """The finding in one sentence, for the size that most cameras have."""
    asked = record.asked
    each = f"at {asked.fps} fps with {_count(asked.faces, 'face')} each"
    sizes = sorted(record.cameras, key=lambda size: abs(size.height_px - USUAL_PX))
    for size in sizes:
        if size.carried is not None:
            least = "about" if size.failed else "at least"
            cameras = _count(size.most, "camera")
            return f"This machine carries {least} {cameras} of {size.height_px}p {each}."
    return f"This machine does not carry one camera {each}: readings get old, or pictures are lost."


def _whole(record: BenchRecord) -> RenderableType:
    asked = record.asked
    sinks = " and ".join(asked.sinks) or "no sink"
    parts: list[RenderableType] = [
        _text(
            f"{record.processor}, {_count(record.cores, 'core')}; expressions on {record.device}"
        ),
        _text(
            f"Each camera: {asked.fps} fps, {_count(asked.faces, 'face')}; H.264 decoded, "
            f"{asked.detector} at {asked.long_side_px} px, {asked.weights} with {asked.tta} on "
            f"{asked.engine}, drawn, to {sinks}."
        ),
        Text(""),
        _cameras(record),
        *_missing(record),
        _text(
            f"cameras: as many as got {FRAMES_SHARE:.0%} of their pictures through, with readings "
            f"younger than {asked.max_age_ms:g} ms. age: of a reading, from the moment its picture "
            "was decoded. readings: of each face, a second. With more cameras affectd takes fewer "
            "crops, then looks for faces less often.",
            "dim",
        ),
        Text(""),
        _faces(record),
        Text(""),
    ]
    if record.was_busy:
        parts.append(
            _text(
                f"Other programs took {record.others_share:.0%} of the processor meanwhile: "
                "the machine can do more than these figures say, and `affectd check` does not go "
                "by them.",
                "yellow",
            )
        )
    parts.append(_text(sentence(record), "bold"))
    return Group(*parts)


def _text(text: str, style: str = "") -> Text:
    return Text(textwrap.fill(text, WIDTH), style)


def _missing(record: BenchRecord) -> list[Text]:
    """Says that sizes were left out, where they were."""
    if len(record.cameras) == len(SIZES):
        return []
    return [_text("The time was over before larger sizes: --seconds gives more.", "yellow")]


def _cameras(record: BenchRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("size")
    for name in ("cameras", "cores used", "age p50", "age p99", "readings", "watts"):
        table.add_column(name, justify="right")
    for size in record.cameras:
        table.add_row(f"{size.height_px}p", *_row(size, record.cores))
    return table


def _row(size: Cameras, cores: int) -> list[str]:
    load = size.carried or size.failed
    assert load is not None  # One camera at least was tried.
    most = str(size.most) if size.failed else f"{size.most} or more"
    return [
        most,
        f"{load.cpu_cores:.1f} of {cores}",
        _ms(load.age_p50_ms),
        _ms(load.age_p99_ms),
        f"{load.readings_a_face_s:.1f}",
        _watts(load),
    ]


def _faces(record: BenchRecord) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("faces a second")
    table.add_column("crops", justify="right")
    engines = list(dict.fromkeys(faces.engine for faces in record.faces))
    for engine in engines:
        table.add_column(engine, justify="right")
    for tta in dict.fromkeys(faces.tta for faces in record.faces):
        found = {faces.engine: faces for faces in record.faces if faces.tta == tta}
        crops = str(next(iter(found.values())).crops)
        cells = [f"{found[e].a_second:.0f}" if e in found else "" for e in engines]
        table.add_row(tta, crops, *cells)
    return table


def _ms(value: float | None) -> str:
    return "no face" if value is None else f"{value:.0f} ms"


def _watts(load: Load) -> str:
    return NOT_TOLD if load.watts is None else f"{load.watts:.0f}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
