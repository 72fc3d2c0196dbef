"""The alert rules: accepted by promtool, tested by it, and told about in the guide."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import promql_parser
import pytest
import yaml

from tests.operations.queries import (
    CONFIG,
    RULES,
    RULES_TEST,
    SCRAPED,
    Query,
    alerts,
    exported,
    labels_of,
    rule_queries,
)
from tests.prometheus import PROMTOOL, needs_prometheus

GUIDE = CONFIG.parent / "docs/monitoring.md"


def promtool(*arguments: str) -> subprocess.CompletedProcess[str]:
    assert PROMTOOL
    return subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True, timeout=200)


@needs_prometheus
def test_promtool_accepts_the_rules() -> None:
    done = promtool("check", "rules", "--lint-fatal", str(RULES))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_each_alert_fires_when_it_should() -> None:
    done = promtool("test", "rules", str(RULES_TEST))
    assert done.returncode == 0, done.stdout + done.stderr


@needs_prometheus
def test_promtool_would_notice_a_rule_that_does_not_fire(tmp_path: Path) -> None:
    (tmp_path / RULES.name).write_text(RULES.read_text().replace("== 0", "== 7"))
    copy = tmp_path / RULES_TEST.name
    copy.write_text(RULES_TEST.read_text())
    assert "alertname: AffectdStreamDown" in promtool("test", "rules", str(copy)).stderr


@needs_prometheus
def test_promtool_accepts_the_configurations(tmp_path: Path) -> None:
    done = promtool("check", "config", str(CONFIG / "prometheus/prometheus.yml"))
    assert done.returncode == 0, done.stdout + done.stderr
    # That of compose names the rules by where its container has them.
    inside = (CONFIG / "compose/prometheus.yml").read_text()
    copy = tmp_path / "prometheus.yml"
    copy.write_text(inside.replace("/etc/prometheus-rules/rules.yml", str(RULES)))
    done = promtool("check", "config", str(copy))
    assert done.returncode == 0, done.stdout + done.stderr


def test_prometheus_scrapes_what_the_rules_ask_for_and_sends_alerts_on() -> None:
    """It takes the place of Debian's own file, which has node_exporter and Alertmanager too."""
    config = yaml.safe_load((CONFIG / "prometheus/prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]] == ["affectd", "node"]
    assert config["alerting"]["alertmanagers"]


@pytest.mark.parametrize("query", rule_queries(), ids=lambda query: query.where)
def test_a_rule_names_metrics_and_labels_that_affectd_exports(query: Query) -> None:
    assert query.named <= labels_of(promql_parser.parse(query.expr))


def test_every_alert_is_whole() -> None:
    for rule in alerts():
        assert rule["for"], rule["alert"]
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        # Whoever reads the message knows where to go: to a stream, or to a machine.
        labels = labels_of(promql_parser.parse(rule["expr"]))
        which = "stream" if "stream" in labels else "instance"
        assert f"$labels.{which}" in rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["description"].endswith("."), rule["alert"]


def test_the_guide_lists_every_metric_with_its_labels() -> None:
    rows = re.findall(r"^\| `(affectd_\w+)` \| \w+ \| ([^|]*) \|", GUIDE.read_text(), re.MULTILINE)
    told = {name: frozenset(labels.split(", ")) - {"", " "} for name, labels in rows}
    series = {
        re.sub(r"_(bucket|sum|count)$", "", name): labels - SCRAPED - {"le"}
        for name, labels in exported().items()
    }
    assert told == series


def test_every_alert_is_tested_both_ways_and_told_about() -> None:
    names = [rule["alert"] for rule in alerts()]
    tests = [
        case
        for test in yaml.safe_load(RULES_TEST.read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    fires = {case["alertname"] for case in tests if case["exp_alerts"]}
    waits = {case["alertname"] for case in tests if not case["exp_alerts"]}
    assert sorted(fires) == sorted(waits) == sorted(names)
    headings = [line[4:] for line in GUIDE.read_text().splitlines() if line.startswith("### ")]
    assert [heading for heading in headings if heading.startswith("Affectd")] == names
