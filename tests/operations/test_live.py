"""Prometheus itself answers every query of the dashboard and the rules, on a real affectd."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.affectd import Daemon
from tests.operations.queries import RULES, Query, dashboard_queries, rule_queries, substituted
from tests.prometheus import ask, needs_prometheus, prometheus
from tests.shared import needs_shared

pytestmark = [
    needs_shared,
    needs_prometheus,
    pytest.mark.timeout(900),  # more than all that is waited for
]

# One stream that delivers, with a sink that fails beside those that do not; one that is refused.
CONFIG = """
[expression]
tta = "none"

[[stream]]
name = "lobby"
url = "demo://lobby?faces=1&size=320x240&fps=10&seed=3"
[[stream.sink]]
kind = "mp4"
path = "lobby.mp4"
[[stream.sink]]
kind = "events"
path = "lobby.jsonl"
[[stream.sink]]
kind = "mp4"
path = "affectd.toml/no-folder.mp4"

[[stream]]
name = "gone"
url = "rtsp://127.0.0.1:1/"
"""
SHOWN_S = 15
WAIT_S = 100.0


def as_grafana(values: list[str]) -> str:
    """The values of a multi-value variable as they are put into a matcher."""
    escaped = [re.sub(r"([.+*?()|\\[\]{}^$])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


def values_of(client: httpx.Client, expr: str) -> list[float]:
    """What a panel over the last seconds shows: all numbers of all series."""
    now_s = time.time()
    times = {"start": now_s - SHOWN_S, "end": now_s, "step": 1}
    answer = client.get("/api/v1/query_range", params={"query": expr, **times})
    assert answer.status_code == 200, f"{expr}: {answer.text}"
    series: list[dict[str, Any]] = answer.json()["data"]["result"]
    return [float(value) for line in series for _, value in line["values"]]


def without_data(
    client: httpx.Client, queries: list[Query], values: dict[str, str]
) -> Iterator[str]:
    """Where queries stand that show nothing, after a fair wait."""
    end_s = time.monotonic() + WAIT_S
    for query in queries:
        expr = substituted(query.expr, values)
        while not any(math.isfinite(value) for value in values_of(client, expr)):
            if time.monotonic() > end_s:
                yield f"{query.where}: {expr}"
                break
            time.sleep(0.5)  # a process of its own gives no event to wait on


def alerts(client: httpx.Client) -> set[tuple[str, str | None]]:
    """The names of those that are pending or fire, with their streams."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("stream"))
        for alert in client.get("/api/v1/alerts").json()["data"]["alerts"]
    }


def test_every_query_is_answered_and_every_panel_shows_something(tmp_path: Path) -> None:
    """1. affectd runs with one stream up, one down and one sink that fails.
    2. Every panel has numbers, for all streams, and in the row of the one that delivers.
    3. Prometheus evaluates every rule; those on what fails are pending."""
    queries = [query for query in dashboard_queries() if not query.where.startswith("annotation")]
    home, scraper = tmp_path / "affectd", tmp_path / "prometheus"
    home.mkdir()
    scraper.mkdir()
    with Daemon(home, CONFIG) as daemon:
        address = daemon.url.removeprefix("http://")
        with prometheus(scraper, address, rules=RULES) as client:
            ask(client, 'affectd_readings_total{stream="lobby"} > 0', WAIT_S)
            ask(client, 'affectd_stream_reconnects_total{stream="gone"} > 0', WAIT_S)
            values = {"instance": address, "__rate_interval": f"{SHOWN_S}s"}
            for streams in (["gone", "lobby"], ["lobby"]):
                chosen = {**values, "stream": as_grafana(streams)}
                wanted = [q for q in queries if streams != ["lobby"] or "econnects" not in q.where]
                assert list(without_data(client, wanted, chosen)) == []
            for query in rule_queries():
                answer = client.get("/api/v1/query", params={"query": query.expr})
                assert answer.status_code == 200, f"{query.where}: {answer.text}"
            ask(client, 'ALERTS{alertname="AffectdSinkFailing"}', WAIT_S)
            groups = client.get("/api/v1/rules").json()["data"]["groups"]
            rules = [rule for group in groups for rule in group["rules"]]
            assert [rule["lastError"] for rule in rules if "lastError" in rule] == []
            assert {rule["health"] for rule in rules} == {"ok"}
            # A machine that is busy with other tests may drop frames, read late, or not answer in
            # the half second that a scrape has.
            busy = {("AffectdFramesDropped", "lobby"), ("AffectdReadingsOld", "lobby")}
            expected = {("AffectdStreamDown", "gone"), ("AffectdSinkFailing", "lobby")}
            end_s = time.monotonic() + WAIT_S
            while (raised := alerts(client) - busy) != expected and time.monotonic() < end_s:
                time.sleep(0.5)
    assert raised == expected
