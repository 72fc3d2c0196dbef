from __future__ import annotations

import csv
import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from classifiers.errors import ExtraError
from classifiers.expression import LABELS
from daemon.commands import event_tables
from daemon.commands.event_tables import COLUMNS, Count, to_csv, to_parquet
from daemon.errors import ConfigError, EventsError, Reason, SinkError
from daemon.reading import Reading
from tests.daemon.outputs import reading
from tests.inside import inside

Capsys = pytest.CaptureFixture[str]
Convert = Callable[..., Count]
NAMES = [column.name for column in COLUMNS] + [f"p_{label}" for label in LABELS]


def write(path: Path, *readings: Reading) -> Path:
    path.write_text("".join(reading.to_json() + "\n" for reading in readings))
    return path


def test_csv_has_a_row_for_each_reading(tmp_path: Path) -> None:
    source = write(tmp_path / "r.jsonl", reading(1), reading(2, live=False, yaw_deg=None))
    assert to_csv(source, tmp_path / "r.csv").readings == 2
    with (tmp_path / "r.csv").open(newline="") as file:
        table = csv.DictReader(file)
        first, second = list(table)
        assert table.fieldnames == NAMES
    assert first == {
        "stream": "lobby",
        "seq": "1",
        "media_time_s": "0.04",
        "captured_at": "2026-02-02T02:40:01.250000Z",
        "track": "3",
        "tracked_since": "2026-02-02T02:40:00.000000Z",
        "x_px": "10",
        "y_px": "20",
        "width_px": "30",
        "height_px": "40",
        "frame_width_px": "640",
        "frame_height_px": "480",
        "label": "happy",
        "unknown": "",
        "face_px": "30",
        "blur": "0.125",
        "yaw_deg": "4.0",
        "score": "0.875",
        "crops": "10",
        "weights": "vgg10-3f2a91c",
        "engine": "openvino int8",
        "detector": "yunet",
        "prior": "",
        "age_ms": "41.0",
        **{f"p_{label}": "0.94" if label == "happy" else "0.01" for label in LABELS},
    }
    null = [name for name, value in second.items() if not value]
    assert null == ["captured_at", "tracked_since", "unknown", "yaw_deg", "prior", "age_ms"]


def test_parquet_has_types_and_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_tables, "_BATCH_ROWS", 64)
    pq = pytest.importorskip("pyarrow.parquet")
    source = write(tmp_path / "r.jsonl", *[reading(seq, live=seq % 2 == 0) for seq in range(100)])
    assert to_parquet(source, tmp_path / "r.parquet").readings == 100
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.column_names == NAMES
    rows = table.to_pylist()
    assert [row["seq"] for row in rows] == list(range(100))
    assert rows[2]["captured_at"] == datetime(2026, 2, 2, 2, 40, 2, 250000, UTC)
    assert rows[2]["tracked_since"] == datetime(2026, 2, 2, 2, 40, tzinfo=UTC)
    assert rows[3]["captured_at"] is rows[3]["tracked_since"] is None
    assert (rows[2]["x_px"], rows[2]["p_happy"], rows[2]["label"]) == (10, 0.94, "happy")
    assert pq.ParquetFile(tmp_path / "r.parquet").num_row_groups == 2


def test_the_share_that_is_done_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is gone through twice."""
    monkeypatch.setattr(event_tables, "_SHARE_LINES", 2)
    source = write(tmp_path / "r.jsonl", *[reading(1)] * 8)
    shares: list[float] = []
    to_csv(source, tmp_path / "r.csv", on_share=shares.append)
    assert shares == pytest.approx([eighths / 8 for eighths in range(1, 9)])


def test_what_is_written_meanwhile_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half a line of a reading, by a daemon that goes on."""
    monkeypatch.setattr(event_tables, "_SHARE_LINES", 1)
    source = write(tmp_path / "r.jsonl", reading(1), reading(2))

    def go_on(share: float) -> None:
        if share > 0.5:  # in the second pass
            with source.open("a") as file:
                file.write(GOOD[:90])

    assert to_csv(source, tmp_path / "r.csv", on_share=go_on).readings == 2
    assert len((tmp_path / "r.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
def test_other_labels_get_columns_of_their_own(tmp_path: Path, convert: Convert) -> None:
    event = reading(2).to_event() | {"probabilities": {"awe": 1}}
    source = write(tmp_path / "r.jsonl", reading(1))
    source.write_text(source.read_text() + json.dumps(event) + "\n")
    target = tmp_path / "out"
    assert convert(source, target).readings == 2
    if convert is to_csv:
        with target.open(newline="") as file:
            rows: list[dict[str, object]] = list(csv.DictReader(file))
        assert [(row["p_awe"], row["p_sad"]) for row in rows] == [("", "0.01"), ("1", "")]
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
        assert [(row["p_awe"], row["p_sad"]) for row in rows] == [(None, 0.01), (1.0, None)]


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
def test_readings_of_images_have_their_file(tmp_path: Path, convert: Convert) -> None:
    """As `affectd image --json` writes them: two faces, none, and an image that is none. One has a
    name that is no UTF-8."""
    event, target = reading(1, live=False).to_event(), tmp_path / "out"
    lines = [
        {"file": "none.jpg", "readings": []},
        {"file": "two.jpg", "readings": [event, event]},
        {"file": os.fsdecode(b"M\xfcller.jpg"), "readings": [event]},
        {"file": "bad.jpg", "error": "bad.jpg: holds no picture that can be decoded"},
    ]
    source = tmp_path / "images.jsonl"
    lines += [event, {"file": None, "readings": [event]}]
    source.write_text("".join(json.dumps(line) + "\n" for line in lines))
    count = convert(source, target)
    assert count == (5, 5, 1, 1)
    assert f"{count}; {count.rowless}" == "5 readings of 5 images; 1 without a face, 1 not read"
    if convert is to_csv:
        with target.open(newline="") as file:
            rows: list[dict[str, object]] = list(csv.DictReader(file))
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
    assert list(rows[0]) == ["file", *NAMES]
    assert [row["file"] or "" for row in rows] == ["two.jpg", "two.jpg", r"M\udcfcller.jpg", "", ""]


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
def test_a_line_that_is_older_than_a_field_converts(tmp_path: Path, convert: Convert) -> None:
    event, target = reading(1).to_event(), tmp_path / "out"
    for field in ("tracked_since", "engine", "detector"):
        del event[field]
    del event["quality"]["score"]
    source = tmp_path / "r.jsonl"
    source.write_text(f"{json.dumps(event)}\n{GOOD}\n")
    assert convert(source, target).readings == 2
    if convert is to_csv:
        with target.open(newline="") as file:
            rows: list[dict[str, object]] = list(csv.DictReader(file))
    else:
        rows = pytest.importorskip("pyarrow.parquet").read_table(target).to_pylist()
    for field in ("tracked_since", "engine", "detector", "score"):
        assert [bool(row[field]) for row in rows] == [False, True]


GOOD = reading(1).to_json()


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
@pytest.mark.parametrize(
    ("line", "what"),
    [
        (GOOD[:90], "is not JSON"),
        ("", "is not JSON"),
        ("[1, 2]", "is no JSON object"),
        ("\xff\xfe", "is not JSON"),
        (100_000 * "[", "is not JSON"),
        (GOOD.replace('"schema": 1', '"schema": 2'), "has schema 2"),
        (GOOD.replace('"track": 3, ', ""), "has no track"),
        (GOOD.replace('"track": 3', '"track": "3"'), 'has track = "3"'),
        (GOOD.replace('"track": 3', '"track": 1' + 30 * "0"), "has track = 1000"),
        (GOOD.replace("[10, 20, 30, 40]", "[10, 20]"), "has no box_px"),
        (GOOD.replace("[10, 20, 30, 40]", "null"), "has no box_px"),
        (GOOD.replace('"blur": 0.125', '"blur": NaN'), "has quality.blur = NaN"),
        (GOOD.replace('"sad": 0.01', '"sad": true'), "has probabilities.sad = true"),
        (GOOD.replace("2026-02-02T", "yesterday "), "has captured_at = "),
        (GOOD.replace(".250000Z", ".250000"), "has captured_at = "),
        ('{"file": "a.jpg", "readings": 3}', "has readings that are none"),
        ('{"file": "a.jpg", "readings": [3]}', "has readings that are none"),
        ('{"file": "a.jpg", "readings": [{}]}', "has schema None"),
        ('{"file": 3, "readings": [' + GOOD + "]}", "has file = 3"),
        (GOOD.replace('"blur": 0.125', '"blur": 1' + 400 * "0"), "has quality.blur = 1000"),
    ],
)
def test_a_broken_line_is_named_or_skipped(
    tmp_path: Path, convert: Convert, line: str, what: str
) -> None:
    source, target = tmp_path / "r.jsonl", tmp_path / "out"
    source.write_bytes(f"{GOOD}\n{line}\n{GOOD}\n".encode("latin-1"))
    with pytest.raises(EventsError) as hit:
        convert(source, target)
    assert str(hit.value).startswith(f"{source}, line 2: {what}")
    assert "accepted is one reading of schema 1" in str(hit.value)
    assert list(tmp_path.iterdir()) == [source]
    told: list[str] = []
    assert convert(source, target, on_broken=told.append).readings == 2
    assert [f"{line}; --skip-broken leaves it out" for line in told] == [str(hit.value)]


def test_how_many_rows_there_are_is_told(tmp_path: Path, capsys: Capsys) -> None:
    lines = write(tmp_path / "r.jsonl", reading(1), reading(2))
    done = inside(capsys, "events", "to-csv", lines, tmp_path / "r.csv")
    assert done.out == [f"2 readings written to {tmp_path}/r.csv"]
    with lines.open("a") as file:
        file.write('{"file": "a.jpg", "readings": []}\n{"file": "b.jpg", "error": "is none"}\n')
    done = inside(capsys, "events", "to-csv", lines, tmp_path / "r.csv")
    written = f"2 readings of 2 images written to {tmp_path}/r.csv"
    assert done.out == [f"{written}; 1 without a face, 1 not read"]


def test_an_old_table_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    source, target = write(tmp_path / "r.jsonl", reading(1)), tmp_path / "r.csv"
    to_csv(source, target)
    before = target.read_text()
    source.write_text("{}\n")
    with pytest.raises(EventsError, match="line 1: has schema None"):
        to_csv(source, target)
    assert target.read_text() == before
    source.write_text("")
    assert to_csv(source, target).readings == 0
    assert target.read_text().startswith("stream,seq,")


def test_files_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.jsonl cannot be read: No such file"):
        to_csv(tmp_path / "none.jsonl", tmp_path / "r.csv")
    source = write(tmp_path / "r.jsonl", reading(1))
    for target in (tmp_path / "none" / "r.csv", source / "r.csv"):
        with pytest.raises(SinkError, match=r"r\.csv cannot be written \(N") as hit:
            to_csv(source, target)
        assert hit.value.reason is Reason.NOT_WRITABLE


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
def test_a_pipe_is_refused_and_its_writer_not_waited_for(tmp_path: Path, convert: Convert) -> None:
    os.mkfifo(tmp_path / "fifo")
    ours, theirs = os.pipe()
    os.close(theirs)
    for pipe in (tmp_path / "fifo", Path(f"/dev/fd/{ours}")):
        with pytest.raises(ConfigError, match=f"{pipe}: is a pipe; accepted is a file, which is"):
            convert(pipe, tmp_path / "table")
    os.close(ours)


@pytest.mark.parametrize("convert", [to_csv, to_parquet])
def test_neither_the_readings_nor_a_device_are_replaced(tmp_path: Path, convert: Convert) -> None:
    """Such as /dev/stdout, where the user may write to /dev."""
    source = write(tmp_path / "r.jsonl", reading(1))
    link, pipe, table = tmp_path / "link", tmp_path / "stdout", tmp_path / "table"
    link.symlink_to(source.name)
    os.mkfifo(pipe)
    for target in (source, link):
        with pytest.raises(ConfigError, match=f"{target}: is IN itself; accepted is another file"):
            convert(source, target)
    for target in (pipe, tmp_path):
        with pytest.raises(ConfigError, match=f"{target}: is no file; accepted is a file"):
            convert(source, target)
    assert source.read_text() == f"{GOOD}\n"
    assert pipe.is_fifo()
    link.unlink()
    link.symlink_to(table)
    assert convert(source, link).readings == 1
    assert table.is_file()
    assert link.is_symlink()


def test_parquet_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ExtraError, match=r"pip install 'affectd\[parquet\]'"):
        to_parquet(write(tmp_path / "r.jsonl", reading(1)), tmp_path / "r.parquet")
    assert to_csv(tmp_path / "r.jsonl", tmp_path / "r.csv").readings == 1


def test_the_guide_s_example_and_columns_are_true(tmp_path: Path) -> None:
    guide = (Path(__file__).resolve().parents[3] / "docs" / "events.md").read_text()
    source = tmp_path / "r.jsonl"
    source.write_text(next(line for line in guide.splitlines() if line.startswith("{")) + "\n")
    assert to_csv(source, tmp_path / "r.csv").readings == 1
    assert (tmp_path / "r.csv").read_text().splitlines()[0].split(",") == NAMES
    said = guide.partition("The columns are ")[2].partition(", then one")[0]
    assert said.replace("`", "").split(", ") == [column.name for column in COLUMNS]
