"""What is printed of a record."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from daemon.commands.bench import table
from tests.daemon.commands.bench.records import a_record


@pytest.mark.parametrize("most_of", [(3, 2, 1), (12, 8, 0), (0, 0, 0)])
def test_the_table_fits_80_columns(
    most_of: tuple[int, int, int], capsys: pytest.CaptureFixture[str]
) -> None:
    out = Console(soft_wrap=True, highlight=False, width=80)
    busy = replace(a_record(*most_of), others_share=0.9)
    table.show(busy, out)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80, lines
    assert table.sentence(busy) in " ".join(lines)


def test_a_size_that_there_was_no_time_for_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    out = Console(soft_wrap=True, highlight=False, width=80)
    short = a_record(3, 2, 1)
    table.show(replace(short, cameras=short.cameras[:1]), out)
    printed = capsys.readouterr().out
    assert "The time was over before larger sizes" in printed
    assert "about 3 cameras of 480p" in printed


def test_a_row_is_of_what_was_carried_else_of_what_was_not(
    capsys: pytest.CaptureFixture[str],
) -> None:
    record = a_record(3, 2, 0)
    small, middle, large = record.cameras
    assert small.carried is not None
    young = replace(small.carried, age_p50_ms=41.0, age_p99_ms=97.0)
    sizes = (replace(small, carried=young), replace(middle, failed=None), large)
    table.show(replace(record, cameras=sizes), Console(soft_wrap=True, highlight=False, width=80))
    rows = [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]
    assert "480p 3 1.5 of 4 41 ms 97 ms 15.0 not told" in rows
    assert "720p 2 or more 1.0 of 4 50 ms 50 ms 15.0 not told" in rows
    assert "1080p 0 0.5 of 4 50 ms 50 ms 15.0 not told" in rows
    assert "ten_crop 10 36" in rows


def test_the_sentence_names_the_usual_size_where_it_can() -> None:
    each = "at 15 fps with 2 faces each"
    assert (
        table.sentence(a_record(3, 2, 1)) == f"This machine carries about 2 cameras of 720p {each}."
    )
    assert "about 1 camera of 480p" in table.sentence(a_record(1, 0, 0))
    assert "does not carry one camera" in table.sentence(a_record(0, 0, 0))
    many = a_record(9, 9, 9)
    many = replace(many, cameras=tuple(replace(size, failed=None) for size in many.cameras))
    assert "at least 9 cameras" in table.sentence(many)
