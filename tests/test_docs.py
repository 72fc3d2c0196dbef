"""The documentation: every link leads somewhere, examples of configurations are TOML."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.affectd import ROOT

PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
_BLOCK = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.DOTALL | re.MULTILINE)


def blocks(page: Path) -> list[tuple[str, str]]:
    """The language and text of each."""
    return [(language, text) for _, language, text in _BLOCK.findall(page.read_text())]


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def anchors(page: Path) -> set[str]:
    """Those of the headings, as GitHub names them."""
    found: set[str] = set()
    for heading in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        name = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        again = sum(1 for one in found if re.fullmatch(rf"{re.escape(name)}(-\d+)?", one))
        found.add(f"{name}-{again}" if again else name)
    return found


@each_page
def test_every_link_leads_to_something(page: Path) -> None:
    dead = []
    for link in re.findall(r"\]\((?!\w+:)([^)\s]+)\)", prose(page)):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


@each_page
def test_every_example_of_a_configuration_is_toml(page: Path) -> None:
    for language, text in blocks(page):
        if language == "toml":
            tomllib.loads(text)


def test_code_names_pages_that_are_there() -> None:
    kinds = ("*.py", "*.toml", "*.yml", "*.yaml", "*.json", "*.service", "CHANGELOG.md")
    folders = [ROOT / name for name in ("classifiers", "config", "daemon", "detectors", "systemd")]
    files = [*ROOT.glob("*"), *(path for folder in folders for path in folder.rglob("*"))]
    named = {
        (str(path.relative_to(ROOT)), name)
        for path in files
        if any(path.match(kind) for kind in kinds)
        for name in re.findall(r"\bdocs/[\w/-]+\.md", path.read_text())
    }
    assert len(named) > 5
    assert [(path, name) for path, name in sorted(named) if not (ROOT / name).is_file()] == []
