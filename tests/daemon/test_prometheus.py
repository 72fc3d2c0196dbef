"""A real Prometheus scrapes a running web server, and promtool reads its metrics."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from daemon.config.settings import DaemonSettings
from tests.serving import serving

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
pytestmark = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL),
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)

CONFIG = """
global: {scrape_interval: 200ms, scrape_timeout: 200ms}
scrape_configs:
  - job_name: affectd
    authorization: {credentials: s3cret}
    static_configs: [{targets: ["127.0.0.1:PORT"]}]
"""
START_S = 30.0


@contextmanager
def prometheus(folder: Path, port: int) -> Iterator[httpx.Client]:
    """Prometheus scraping `port`, with a client of its own interface."""
    assert PROMETHEUS
    config = folder / "prometheus.yml"
    config.write_text(CONFIG.replace("PORT", str(port)))
    log = folder / "log"
    flags = [
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with log.open("wb") as output:
        process = subprocess.Popen([PROMETHEUS, *flags], stdout=output, stderr=output, cwd=folder)
    try:
        url = f"http://{_listens_at(log, process)}"
        with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(20)


def _listens_at(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if found := re.search(r'"Listening on" address=(127\.0\.0\.1:\d+)', log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not start:\n{log.read_text()}")


def ask(client: httpx.Client, query: str, timeout_s: float = 20.0) -> list[dict[str, Any]]:
    """The result of a query, as soon as it is not empty."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        answer = client.get("/api/v1/query", params={"query": query})
        if answer.status_code == 200 and (result := answer.json()["data"]["result"]):
            return list(result)
        time.sleep(0.1)
    raise AssertionError(f"{query} stayed empty; targets: {client.get('/api/v1/targets').text}")


def test_prometheus_scrapes_what_the_streams_count(tmp_path: Path) -> None:
    """1. Two streams, one of which delivers; the server wants a token.
    2. Prometheus reports the target up and the frames growing.
    3. A removed stream's series disappear from the scrape."""
    settings = DaemonSettings(token=SecretStr("s3cret"))
    with serving("lobby", "door", settings=settings) as house:
        house.publish("lobby")
        with prometheus(tmp_path, house.web.port) as client:
            (frames,) = ask(client, 'affectd_frames_total{stream="lobby"} > 0')
            assert frames["metric"]["job"] == "affectd"
            ask(client, f'affectd_frames_total{{stream="lobby"}} > {frames["value"][1]}')
            (up,) = ask(client, 'up{job="affectd"}')
            assert up["value"][1] == "1"
            (door,) = ask(client, 'affectd_frames_total{stream="door"}')
            assert door["value"][1] == "0"
            buckets = ask(client, 'affectd_stage_seconds_bucket{stream="door",stage="detect"}')
            assert len(buckets) > 5
            known = client.get("/api/v1/targets/metadata").json()["data"]
            types = {entry["metric"]: entry["type"] for entry in known}
            assert types["affectd_frames"] == "counter"
            assert types["affectd_stage_seconds"] == "histogram"

            house.metrics.remove_stream("door")
            ask(client, 'absent(affectd_frames_total{stream="door"})')


def test_promtool_is_silent() -> None:
    with serving("lobby", "door") as house:
        house.publish("lobby")
        house.metrics.build_info.info({"version": "1.2.3", "device": "cpu"})
        house.metrics.dropped.labels("lobby", "capture", "replaced").inc()
        house.metrics.readings.labels("lobby", "happy").inc()
        house.metrics.classify_seconds.labels("vgg10").observe(0.01)
        house.metrics.tta_crops.labels("vgg10").set(10)
        with house.client() as client:
            scraped = client.get("/metrics").content
    assert PROMTOOL
    check = subprocess.run(
        [PROMTOOL, "check", "metrics"], input=scraped, capture_output=True, timeout=30
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
