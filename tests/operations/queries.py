"""The queries of the dashboard and of the rules, and which metrics and labels they name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as promql
import yaml
from prometheus_client import CollectorRegistry

from daemon.monitoring.metrics import Metrics

CONFIG = Path(__file__).parents[2] / "config"
DASHBOARD = CONFIG / "grafana/affectd.json"
RULES = CONFIG / "prometheus/rules.yml"
RULES_TEST = CONFIG / "prometheus/rules_test.yml"

# Labels that Prometheus adds to everything that it scrapes.
SCRAPED = frozenset({"job", "instance"})
NODE_EXPORTER = frozenset({"device", "fstype", "mountpoint"})
# What rules and dashboard use of others than affectd.
OTHERS = {
    "up": SCRAPED,
    "process_start_time_seconds": SCRAPED,
    "ALERTS": SCRAPED | {"alertname", "alertstate", "severity", "stream", "sink", "stage"},
    "node_filesystem_avail_bytes": SCRAPED | NODE_EXPORTER,
    "node_filesystem_size_bytes": SCRAPED | NODE_EXPORTER,
}
BUILD_INFO = frozenset({"version", "torch", "device", "engine", "weights", "detector"})


@dataclass(frozen=True, slots=True)
class Query:
    """One expression, where it stands, and the `{{label}}` or `$labels.label` beside it."""

    where: str
    expr: str
    named: frozenset[str] = frozenset()


class WrongQueryError(Exception):
    """An expression names a metric or a label that is not there."""


def exported() -> dict[str, frozenset[str]]:
    """Every series name that affectd exports, with its labels and those of the scrape."""
    names: dict[str, frozenset[str]] = {}
    for metric in vars(Metrics(CollectorRegistry())).values():
        if isinstance(metric, CollectorRegistry):
            continue
        family = metric.describe()[0]
        labels = SCRAPED | set(metric._labelnames)
        if family.type == "histogram":
            names |= {f"{family.name}_{end}": labels for end in ("sum", "count")}
            names[f"{family.name}_bucket"] = labels | {"le"}
        elif family.type == "info":
            names[f"{family.name}_info"] = labels | BUILD_INFO
        else:
            names[family.name + ("_total" if family.type == "counter" else "")] = labels
    return names


KNOWN = {**exported(), **OTHERS}


def dashboard() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return loaded


def panels() -> list[dict[str, Any]]:
    """The panels that show something: all but the rows."""
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard_queries() -> list[Query]:
    """Every expression with its variables in it, those of variables and annotations too."""
    return [*_of_panels(), *_of_variables(), *_of_annotations()]


def _of_panels() -> Iterator[Query]:
    for panel in panels():
        for target in panel["targets"]:
            legend = frozenset(re.findall(r"{{(\w+)}}", target.get("legendFormat", "")))
            yield Query(
                f"panel {panel['id']} ({panel['title']}) {target['refId']}", target["expr"], legend
            )


def _of_variables() -> Iterator[Query]:
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            text = variable["query"]["query"]
            found = re.fullmatch(r"label_values\((.+), (\w+)\)", text)
            assert found, text
            yield Query(f"variable {variable['name']}", found[1], frozenset({found[2]}))


def _of_annotations() -> Iterator[Query]:
    for annotation in dashboard()["annotations"]["list"]:
        texts = annotation["titleFormat"] + annotation["textFormat"]
        named = frozenset(re.findall(r"{{(\w+)}}", texts))
        yield Query(f"annotation {annotation['name']}", annotation["target"]["expr"], named)


def rule_queries() -> list[Query]:
    return [
        Query(
            rule["alert"],
            rule["expr"],
            frozenset(re.findall(r"\$labels\.(\w+)", " ".join(rule["annotations"].values()))),
        )
        for rule in alerts()
    ]


def substituted(expr: str, values: Mapping[str, str]) -> str:
    """`expr` with its variables replaced as Grafana would: `$name` and `${name}`.

    In a matcher the value of a multi-value variable is a regular expression, such as `(a|b)`.
    """

    def value(match: re.Match[str]) -> str:
        return values[match[1] or match[2]]

    return re.sub(r"\$(?:(\w+)|{(\w+)})", value, expr)


def labels_of(expr: promql.Expr) -> frozenset[str]:
    """The labels that the result has. Raises WrongQueryError for a metric that is not exported,
    and for a label in a matcher, a by, a without, an on or an ignoring that is not there."""
    match expr:
        case promql.VectorSelector():
            return _selected(expr)
        case promql.MatrixSelector():
            return _selected(expr.vector_selector)
        case promql.ParenExpr() | promql.UnaryExpr() | promql.SubqueryExpr():
            return labels_of(expr.expr)
        case promql.AggregateExpr():
            return _aggregated(expr)
        case promql.BinaryExpr():
            return _combined(expr)
        case promql.Call():
            return _called(expr)
        case promql.NumberLiteral() | promql.StringLiteral():
            return frozenset()
    raise WrongQueryError(f"this test knows no {type(expr).__name__}")


def _selected(selector: promql.VectorSelector) -> frozenset[str]:
    if selector.name not in KNOWN:
        raise WrongQueryError(f"affectd exports no {selector.name}")
    there = KNOWN[selector.name]
    _must_be_in(there, [matcher.name for matcher in selector.matchers.matchers], selector)
    return there


def _aggregated(expr: promql.AggregateExpr) -> frozenset[str]:
    inner = labels_of(expr.expr)
    if expr.modifier is None:
        return frozenset()
    named = frozenset(expr.modifier.labels)
    _must_be_in(inner, named, expr)
    return named if expr.modifier.type == promql.AggModifierType.By else inner - named


def _combined(expr: promql.BinaryExpr) -> frozenset[str]:
    left, right = labels_of(expr.lhs), labels_of(expr.rhs)
    modifier = expr.modifier
    if not left or not right or modifier is None or modifier.matching is None:
        if left and right and left != right:
            raise WrongQueryError(f"without on or ignoring the sides differ: {expr.prettify()}")
        return left or right
    named = frozenset(modifier.matching.labels)
    only_named = modifier.matching.type == promql.LabelModifierType.Include
    _must_be_in(left & right if only_named else left | right, named, expr)
    if modifier.card == promql.VectorMatchCardinality.OneToOne:
        # A comparison without bool keeps its left side, as these rules use it.
        return named if only_named else left - named
    grouped = frozenset(modifier.group_labels or ())
    if modifier.card == promql.VectorMatchCardinality.ManyToOne:
        _must_be_in(right, grouped, expr)
        return left | grouped
    return left  # and, or, unless: many to many


def _called(call: promql.Call) -> frozenset[str]:
    inner = frozenset[str]().union(*(labels_of(argument) for argument in call.args))
    if call.func.name == "histogram_quantile":
        _must_be_in(inner, ["le"], call)
        return inner - {"le"}
    return inner


def _must_be_in(there: frozenset[str], named: Any, expr: promql.Expr) -> None:
    if missing := sorted(set(named) - there):
        raise WrongQueryError(f"no label {', '.join(missing)} in {expr.prettify()}")
