"""The dashboard: what Grafana needs of it, and that it asks for what affectd exports."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from daemon.config.settings import COLOURS
from tests.operations.queries import (
    DASHBOARD,
    Query,
    WrongQueryError,
    dashboard,
    dashboard_queries,
    labels_of,
    panels,
    substituted,
)
from tests.prometheus import PROMTOOL, needs_prometheus

VALUES = {
    "instance": "box:9464",
    "stream": "(film|lobby)",
    "__rate_interval": "5m0s",
}
# All that Grafana brings; anything else would have to be installed.
BUILT_IN = {"row", "stat", "timeseries", "state-timeline", "table"}
# Seconds, a count, counts a second and a minute, a share.
UNITS = {"s", "short", "cps", "cpm", "percentunit"}


@pytest.mark.parametrize("query", dashboard_queries(), ids=lambda query: query.where)
def test_a_query_names_metrics_and_labels_that_affectd_exports(query: Query) -> None:
    there = labels_of(promql_parser.parse(substituted(query.expr, VALUES)))
    assert query.named <= there


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("rate(affectd_frames[5m])", "affectd exports no affectd_frames"),
        ('affectd_stream_up{sink="mp4"}', "no label sink"),
        ("sum by (track) (affectd_faces)", "no label track"),
        ("sum without (reason) (affectd_faces)", "no label reason"),
        ("sum by (sink) (sum by (stream) (affectd_sink_up))", "no label sink"),
        ("affectd_sink_up and on (sink) affectd_stream_up", "no label sink"),
        ("affectd_sink_up / affectd_stream_up", "the sides differ"),
        ("histogram_quantile(0.5, sum(rate(affectd_stage_seconds_bucket[5m])))", "no label le"),
        ("affectd_sink_up * on (stream) group_left (sink) affectd_stream_up", "no label sink"),
    ],
)
def test_a_query_that_names_what_is_not_there_is_found(wrong: str, why: str) -> None:
    with pytest.raises(WrongQueryError, match=why):
        labels_of(promql_parser.parse(wrong))


def test_every_panel_is_whole() -> None:
    for panel in panels():
        assert panel["type"] in BUILT_IN, panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        assert panel["targets"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert len(set(refs)) == len(refs), panel["title"]
        if panel["type"] in ("stat", "timeseries"):
            assert panel["fieldConfig"]["defaults"]["unit"] in UNITS


def data_sources(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        if "datasource" in part:
            yield part["datasource"]["uid"]
        part = list(part.values())
    if isinstance(part, list):
        for inner in part:
            yield from data_sources(inner)


def test_every_data_source_is_the_variable() -> None:
    found = list(data_sources(dashboard()))
    assert len(found) > len(panels())
    assert set(found) == {"${datasource}"}


def test_every_variable_is_defined() -> None:
    defined = {variable["name"] for variable in dashboard()["templating"]["list"]}
    text = DASHBOARD.read_text()
    used = {a or b for a, b in re.findall(r"\$(?:([a-z_]\w*)|{(\w+)})", text)}
    assert used - {"__all", "__rate_interval"} == defined
    assert {panel["repeat"] for panel in dashboard()["panels"] if "repeat" in panel} <= defined


def test_one_daemon_is_shown_at_a_time() -> None:
    """Streams of two daemons may have the same name, and would be mixed."""
    instance = next(v for v in dashboard()["templating"]["list"] if v["name"] == "instance")
    assert not {"multi", "includeAll"} & set(instance)
    for panel in panels():
        for target in panel["targets"]:
            chosen = 'instance="$instance"' in target["expr"]
            assert chosen is (panel["title"] != "affectd down"), panel["title"]


def test_ids_differ_and_no_panel_lies_upon_another() -> None:
    """Grafana moves a panel that does; the places here would then mean nothing."""
    everything: list[dict[str, Any]] = dashboard()["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    taken: dict[tuple[int, int], str] = {}
    for panel in everything:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} and {taken[x, y]}"
                taken[x, y] = panel["title"]


def test_expressions_have_the_colours_of_the_overlay() -> None:
    shares = [panel for panel in panels() if panel["title"].startswith("Expressions")]
    assert len(shares) == 2
    for panel in shares:
        shown = {
            override["matcher"]["options"]: override["properties"][0]["value"]["fixedColor"]
            for override in panel["fieldConfig"]["overrides"]
        }
        assert shown == COLOURS


def must_show(folder: Path, series: Mapping[str, str], numbers: Mapping[str, float | None]) -> None:
    """Panels show these numbers, or nothing, 10 minutes after the series began."""
    job = '{job="affectd", instance="box:9464", '
    given = [{"series": name.replace("{", job), "values": value} for name, value in series.items()]
    shown = {panel["title"]: panel["targets"][0]["expr"] for panel in panels()}
    asked = [
        {
            "expr": f"sum({substituted(shown[title], VALUES)})",
            "eval_time": "10m",
            "exp_samples": [] if number is None else [{"labels": "{}", "value": number}],
        }
        for title, number in numbers.items()
    ]
    test = {"tests": [{"interval": "1m", "input_series": given, "promql_expr_test": asked}]}
    path = folder / "test.yml"
    path.write_text(yaml.safe_dump(test))
    assert PROMTOOL
    done = subprocess.run(
        [PROMTOOL, "test", "rules", str(path)], capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
@pytest.mark.parametrize(
    ("series", "down"),
    [
        ({"up": 1, "affectd_stream_up": 1}, {"Streams down": 0, "affectd down": 0}),
        ({"up": 1, "affectd_stream_up": 0}, {"Streams down": 1, "affectd down": 0}),
        ({"up": 0}, {"Streams down": None, "affectd down": 1}),
    ],
    ids=["well", "a stream is down", "the daemon is down"],
)
def test_a_daemon_that_is_down_passes_for_none_without_a_fault(
    tmp_path: Path, series: dict[str, int], down: dict[str, int | None]
) -> None:
    given = {f'{name}{{stream="lobby"}}': f"{value}x10" for name, value in series.items()}
    must_show(tmp_path, given, down)


@needs_prometheus
def test_a_file_that_ended_and_a_server_that_is_off_are_no_faults_of_a_stream(
    tmp_path: Path,
) -> None:
    lost = 'affectd_frames_dropped_total{stream="lobby", stage="sink_rtsp"'
    given = {
        'affectd_stream_last_frame_timestamp_seconds{stream="film"}': "0x10",
        'affectd_stream_state{stream="film", state="ended"}': "1x10",
        'affectd_stream_last_frame_timestamp_seconds{stream="lobby"}': "0+60x8 480 480",
        'affectd_stream_state{stream="lobby", state="ended"}': "0x10",
        'affectd_frames_total{stream="lobby"}': "0+600x10",
        'affectd_frames_dropped_total{stream="lobby", stage="decode", reason="damaged"}': "0x10",
        lost + ', reason="down"}': "0+600x10",
        lost + ', reason="slow"}': "0+150x10",
    }
    must_show(tmp_path, given, {"Longest without a frame": 120, "Frames lost": 0.25})
