"""What the web server answers: health, states, metrics, the page's files, unknown paths."""

from __future__ import annotations

import json
import re
from pathlib import Path

from starlette.routing import Route

from daemon.config.settings import COLOURS
from daemon.errors import Reason
from daemon.ladder import Ladder, rungs
from daemon.web.app import PAGE
from tests.serving import (
    HAPPY,
    House,
    happy_face,
)

GUIDE = Path(__file__).resolve().parents[3] / "docs" / "http.md"


def test_livez_names_the_loop_that_hangs(house: House) -> None:
    with house.client() as client:
        good = client.get("/livez")
        assert (good.status_code, good.json()["status"]) == (200, "ok")
        house.health.loop("capture lobby", limit_s=-1)
        bad = client.get("/livez")
    assert bad.status_code == 503
    assert "capture lobby has not turned" in bad.json()["reason"]


def test_readyz_wants_models_and_a_live_stream(house: House) -> None:
    with house.client() as client:
        assert client.get("/readyz").json()["reason"] == "the models are not loaded yet"
        house.health.models_loaded = True
        house.rows["lobby"].set_state("down", Reason.AUTH_FAILED, "401")
        bad = client.get("/readyz")
        house.rows["door"].set_state("live")
        good = client.get("/readyz")
    assert bad.status_code == 503
    assert "lobby is down (auth_failed), door is connecting" in bad.json()["reason"]
    assert (good.status_code, good.json()["reason"]) == (200, "1 of 2 streams deliver")


def test_states_say_what_every_stream_does(house: House) -> None:
    house.metrics.build_info.info({"version": "1.2.3", "weights": "vgg10-abc", "device": "cpu"})
    house.rows["lobby"].set_state("live")
    house.rows["lobby"].saw(24.987, [happy_face(7)])
    house.rows["door"].set_state("down", Reason.STALLED, "no picture for 10 s")
    del house.feeds["door"]
    with house.client() as client:
        body = client.get("/api/streams").json()
    assert body["version"] == "1.2.3"
    assert body["build"]["weights"] == "vgg10-abc"
    assert body["colours"] == COLOURS
    lobby, door = body["streams"]
    assert (lobby["name"], lobby["state"], lobby["frames"], lobby["fps"]) == (
        "lobby",
        "live",
        1,
        24.99,
    )
    assert lobby["mjpeg"] == "/streams/lobby/mjpeg"
    assert lobby["detect_every"] == 1
    assert body["load"] is None  # no expressions are read
    (face,) = lobby["faces"]
    assert (face["track"], face["label"], face["probabilities"]) == (7, "happy", HAPPY)
    assert (door["state"], door["reason"], door["last_error"], door["mjpeg"]) == (
        "down",
        "stalled",
        "no picture for 10 s",
        None,
    )
    assert door["since"].endswith("Z")
    assert 0 <= door["for_s"] < 200


def test_the_guide_s_example_has_the_fields_of_the_states(house: House) -> None:
    guide = GUIDE.read_text()
    example = json.loads(guide.partition("```json\n")[2].partition("```")[0])
    house.board.ladder = Ladder(rungs("flip", {"flip": 2, "none": 1}), max_age_s=1.0)
    house.rows["lobby"].set_state("live")
    house.rows["lobby"].saw(25.0, [happy_face()])
    with house.client() as client:
        body = client.get("/api/streams").json()
    assert list(example) == list(body)
    assert list(example["load"]) == list(body["load"])
    (told,), lobby = example["streams"], body["streams"][0]
    assert list(told) == list(lobby)
    for part in ("faces", "sinks"):
        assert list(told[part][0]) == list(lobby[part][0])
    table = guide.partition("\n## /api/streams\n")[2].partition("\n## ")[0]
    first = "".join(re.findall(r"^\| ([^|]*) \|", table, re.MULTILINE))
    for fields in (example, told, told["sinks"][0]):
        assert fields.keys() - set(re.findall(r"`(\w+)`", first)) == set()


def test_the_guide_lists_every_address(house: House) -> None:
    served = {
        re.sub(r"^/page/.+", "/page/FILE", re.sub(r"{(\w+)}", lambda m: m[1].upper(), route.path))
        for route in house.site.app.routes
        if isinstance(route, Route)
    }
    rows = re.findall(r"^\| (`/[^|]*) \|", GUIDE.read_text(), re.MULTILINE)
    assert {address for row in rows for address in re.findall(r"`([^`]+)`", row)} == served


def test_metrics_come_in_the_format_that_is_asked_for(house: House) -> None:
    house.metrics.frames.labels("lobby").inc(3)
    with house.client() as client:
        plain = client.get("/metrics")
        openmetrics = client.get(
            "/metrics", headers={"Accept": "application/openmetrics-text;version=1.0.0"}
        )
    assert plain.headers["content-type"].startswith("text/plain; version=")
    assert 'affectd_frames_total{stream="lobby"} 3.0' in plain.text
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text")
    assert openmetrics.text.endswith("# EOF\n")


def test_the_page_asks_nobody_else() -> None:
    files = sorted(PAGE.iterdir())
    assert {file.suffix for file in files} == {".html", ".js", ".css", ".svg"}
    for file in files:
        text = file.read_text().replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert "//" not in text.replace("// ", ""), file
        assert "innerHTML" not in text, file


def test_the_pages_files_are_served_with_their_types_and_headers(house: House) -> None:
    types = {"html": "text/html", "js": "text/javascript", "css": "text/css"}
    with house.client() as client:
        for path in ["/", "/page/page.js", "/page/page.css", "/page/icon.svg"]:
            answer = client.get(path)
            assert answer.status_code == 200
            kind = path.rpartition(".")[2] if "." in path else "html"
            assert answer.headers["content-type"].startswith(types.get(kind, "image/svg+xml"))
            policy = answer.headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert answer.headers["x-content-type-options"] == "nosniff"


def test_unknown_paths_are_404_in_json(house: House) -> None:
    with house.client() as client:
        for path in ["/nope", "/page/%2e%2e/web.py", "/page/", "/streams/lobby"]:
            answer = client.get(path)
            assert answer.status_code == 404
            assert "nothing is at" in answer.json()["error"]


def test_only_get_and_head_are_answered(house: House) -> None:
    with house.client() as client:
        assert client.post("/api/streams").status_code == 405
        for path in ["/", "/streams/lobby/mjpeg", "/events", "/api/pictures"]:
            answer = client.head(path)
            assert (answer.status_code, answer.content) == (200, b"")
