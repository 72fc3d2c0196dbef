"""A real Prometheus in a folder, scraping one affectd."""

from __future__ import annotations

import json
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

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
needs_prometheus = pytest.mark.skipif(
    not (PROMETHEUS and PROMTOOL),
    reason="Prometheus is not installed (Debian: apt-get install prometheus)",
)
START_S = 60.0


@contextmanager
def prometheus(
    folder: Path, target: str, token: str = "", rules: Path | None = None
) -> Iterator[httpx.Client]:
    """Prometheus scraping `target` (HOST:PORT) with `token`, with a client of its own interface."""
    assert PROMETHEUS
    job: dict[str, object] = {"job_name": "affectd", "static_configs": [{"targets": [target]}]}
    if token:
        job["authorization"] = {"credentials": token}
    times = {"scrape_interval": "500ms", "scrape_timeout": "500ms", "evaluation_interval": "500ms"}
    config = folder / "prometheus.yml"
    rule_files = [str(rules)] if rules else []
    # JSON is YAML too.
    config.write_text(
        json.dumps({"global": times, "rule_files": rule_files, "scrape_configs": [job]})
    )
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
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
            yield client
    finally:
        process.terminate()
        process.wait(60)


def _listens_at(log: Path, process: subprocess.Popen[bytes]) -> str:
    deadline_s = time.monotonic() + START_S
    while time.monotonic() < deadline_s and process.poll() is None:
        if found := re.search(r'"Listening on" address=(127\.0\.0\.1:\d+)', log.read_text()):
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"Prometheus did not start:\n{log.read_text()}")


def ask(client: httpx.Client, query: str, timeout_s: float = 60.0) -> list[dict[str, Any]]:
    """The result of a query, as soon as it is not empty."""
    deadline_s = time.monotonic() + timeout_s
    while time.monotonic() < deadline_s:
        answer = client.get("/api/v1/query", params={"query": query})
        if answer.status_code == 200 and (result := answer.json()["data"]["result"]):
            return list(result)
        time.sleep(0.1)
    raise AssertionError(f"{query} stayed empty; targets: {client.get('/api/v1/targets').text}")
