"""docs/reliability.md leaves no fault out, and names no test that is not there."""

from __future__ import annotations

import re

from tests.affectd import ROOT
from tests.faults import sinks
from tests.faults.faults import FAULTS
from tests.soak.harm import KINDS

PAGE = (ROOT / "docs" / "reliability.md").read_text()


def test_every_fault_has_its_row() -> None:
    rows = {tuple(row.split(" | ")[:2]) for row in re.findall(r"^\| (.+) \|$", PAGE, re.M)}
    assert [
        fault.name for fault in (*FAULTS, *sinks.FAULTS) if (fault.name, fault.caused) not in rows
    ] == []


def test_every_kind_of_the_soak_has_its_row() -> None:
    section = PAGE.partition("## The soak")[2]
    assert [kind.name for kind in KINDS if f"\n| {kind.name} |" not in section] == []


def test_every_file_that_it_names_is_there() -> None:
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", PAGE)) | {
        f"docs/{name}" for name in re.findall(r"\]\((?!http|#)([^)#]+)", PAGE)
    }
    assert len(named) > 5
    assert [name for name in sorted(named) if not (ROOT / name).resolve().exists()] == []
