"""A real Prometheus scrapes a running web server, and promtool reads its metrics."""

from __future__ import annotations

import subprocess
from pathlib import Path

from pydantic import SecretStr

from daemon.config.settings import DaemonSettings
from tests.prometheus import PROMTOOL, ask, needs_prometheus, prometheus
from tests.serving import serving

pytestmark = needs_prometheus


def test_prometheus_scrapes_what_the_streams_count(tmp_path: Path) -> None:
    """1. Two streams, one of which delivers; the server wants a token.
    2. Prometheus reports the target up and the frames growing.
    3. A removed stream's series disappear from the scrape."""
    settings = DaemonSettings(token=SecretStr("s3cret"))
    with serving("lobby", "door", settings=settings) as house:
        house.publish("lobby")
        with prometheus(tmp_path, f"127.0.0.1:{house.web.port}", "s3cret") as client:
            (frames,) = ask(client, 'affectd_frames_total{stream="lobby"} > 0')
            assert frames["metric"]["job"] == "affectd"
            ask(client, f'affectd_frames_total{{stream="lobby"}} > {frames["value"][1]}')
            ask(client, 'up{job="affectd"} == 1')
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
        [PROMTOOL, "check", "metrics"], input=scraped, capture_output=True, timeout=200
    )
    assert (check.returncode, check.stdout, check.stderr) == (0, b"", b"")
