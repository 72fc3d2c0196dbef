"""A record is kept, and read again."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from daemon.commands.bench import record, run
from daemon.errors import SinkError
from tests.daemon.commands.bench.records import a_record
from tests.inside import inside


def test_a_record_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "new" / "bench.json"
    record.save(a_record(3, 2, 0), path)
    assert record.load(path) == a_record(3, 2, 0)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:50],
        lambda text: text.replace('"schema": 1', '"schema": 99'),
        lambda text: text.replace('"fps"', '"frames"'),
    ],
)
def test_a_record_that_is_not_understood_is_none(
    tmp_path: Path, spoil: Callable[[str], str]
) -> None:
    path = tmp_path / "bench.json"
    record.save(a_record(3, 2, 1), path)
    path.write_text(spoil(path.read_text()))
    assert record.load(path) is None
    assert record.load(tmp_path / "none.json") is None


def test_a_record_that_cannot_be_written_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"file/bench\.json"):
        record.save(a_record(1, 1, 1), tmp_path / "file" / "bench.json")


def test_figures_that_cannot_be_kept_are_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "file"))
    err = io.StringIO()
    run.keep(a_record(3, 2, 1), Console(file=err, soft_wrap=True))
    assert err.getvalue().startswith(f"affectd: warning: {tmp_path}/file/bench.json cannot be ")


def test_what_cannot_be_written_is_said_before_the_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "fifo"
    os.mkfifo(target)
    done = inside(capsys, "bench", "--json", target)
    said = f"affectd: {target} cannot be written (it is there and is no file); accepted is a path "
    assert done == (2, [], [f"{said}in a folder that affectd may write to"])


def test_the_configuration_is_not_replaced(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "affectd.toml"
    config.write_text('[[stream]]\nname = "a"\nurl = "demo://a"\n')
    link = tmp_path / "figures.json"
    link.symlink_to("affectd.toml")
    done = inside(capsys, "bench", "--config", config, "--json", link)
    said = f"affectd: --json: {link} is that of --config; accepted is another file"
    assert done == (2, [], [said])
    assert config.read_text().startswith("[[stream]]")
