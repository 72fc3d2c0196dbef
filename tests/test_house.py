"""The rules of the house: which way imports point, how long files are, what metrics there are."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from daemon.monitoring.metrics import Metrics
from tests.affectd import ROOT

PACKAGES = ("daemon", "detectors", "classifiers")
MOST_LINES = 400
FAMILIES = sorted(
    folder.name for folder in (ROOT / "classifiers").iterdir() if (folder / "__init__.py").exists()
)


def sources(folder: str = "") -> list[Path]:
    folders = [folder] if folder else list(PACKAGES)
    return sorted(path for name in folders for path in (ROOT / name).rglob("*.py"))


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in it it does."""
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def offenders(folder: str, forbidden: tuple[str, ...]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(folder)
        for name in imports(path)
        if any(name == other or name.startswith(f"{other}.") for other in forbidden)
    ]


def test_there_is_code_to_judge() -> None:
    assert all(len(sources(package)) > 5 for package in PACKAGES)
    assert "expression" in FAMILIES
    steps = set(imports(ROOT / "daemon" / "steps.py"))
    assert {"daemon.classify.batcher.Batcher", "detectors.base.Detector"} <= steps


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("daemon", ("tests", "config", "systemd")),
        ("detectors", ("daemon", "classifiers", "tests")),
        ("classifiers", ("daemon", "detectors", "tests")),
    ],
)
def test_arrows_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    assert offenders(folder, forbidden) == []


@pytest.mark.parametrize("family", FAMILIES)
def test_families_do_not_know_each_other(family: str) -> None:
    others = tuple(f"classifiers.{other}" for other in FAMILIES if other != family)
    assert offenders(f"classifiers/{family}", others) == []
    shared = [path for path in sources("classifiers") if path.parent.name == "classifiers"]
    for path in shared:
        known = [name for name in imports(path) if name.startswith(f"classifiers.{family}")]
        assert known == [], path.name


@pytest.mark.parametrize("folder", PACKAGES)
def test_no_two_rooms_need_each_other(folder: str) -> None:
    """A room is a file or a folder of the package; `room` needs those that its files import."""
    needs: dict[str, set[str]] = {}
    for path in sources(folder):
        room = path.relative_to(ROOT / folder).parts[0].removesuffix(".py")
        found = {name.split(".")[1] for name in imports(path) if name.startswith(f"{folder}.")}
        needs.setdefault(room, set()).update(found - {room})
    TopologicalSorter(needs).prepare()  # raises CycleError, which names them


def test_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (*sources(), *sources("tests"))
        if (lines := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert long == {}


def test_nothing_is_left_for_later() -> None:
    left = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplemented")
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in sources()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if left.search(line)
    ]
    assert found == []


# Every metric that dashboards, rules and scripts of others may build on.
METRICS = {
    "affectd_build_info": ("info", ()),
    "affectd_stream_up": ("gauge", ("stream",)),
    "affectd_stream_state": ("gauge", ("stream", "state")),
    "affectd_stream_state_since_timestamp_seconds": ("gauge", ("stream",)),
    "affectd_config_last_reload_successful": ("gauge", ()),
    "affectd_config_last_reload_success_timestamp_seconds": ("gauge", ()),
    "affectd_stream_last_frame_timestamp_seconds": ("gauge", ("stream",)),
    "affectd_stream_behind_seconds": ("gauge", ("stream",)),
    "affectd_frames_total": ("counter", ("stream",)),
    "affectd_frames_dropped_total": ("counter", ("stream", "stage", "reason")),
    "affectd_stream_reconnects_total": ("counter", ("stream", "reason")),
    "affectd_stage_seconds": ("histogram", ("stream", "stage")),
    "affectd_classify_seconds": ("histogram", ("model",)),
    "affectd_batch_crops": ("histogram", ("model",)),
    "affectd_batch_wait_seconds": ("histogram", ("model",)),
    "affectd_frame_age_seconds": ("histogram", ("stream", "sink")),
    "affectd_faces": ("gauge", ("stream",)),
    "affectd_readings_total": ("counter", ("stream", "expression")),
    "affectd_reading_age_seconds": ("histogram", ("stream",)),
    "affectd_expression_face_seconds_total": ("counter", ("stream", "expression")),
    "affectd_tta_crops": ("gauge", ("model",)),
    "affectd_detect_every_frames": ("gauge", ("stream",)),
    "affectd_load_steps_total": ("counter", ("direction",)),
    "affectd_sink_up": ("gauge", ("stream", "sink")),
    "affectd_sink_errors_total": ("counter", ("stream", "sink", "reason")),
}
SUFFIX = {"info": "_info", "counter": "_total"}


def test_every_metric_is_there_with_its_labels_and_no_other() -> None:
    metrics = Metrics(CollectorRegistry())
    found = {}
    for attribute in vars(metrics).values():
        if isinstance(attribute, CollectorRegistry):
            continue
        family = attribute.describe()[0]
        name = family.name + SUFFIX.get(family.type, "")
        found[name] = (family.type, tuple(attribute._labelnames))
    assert found == METRICS
