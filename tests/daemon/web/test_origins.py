"""Pages of other origins: what a browser lets them read, and that it is only those named."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from daemon.config.settings import DaemonSettings
from tests.browser import Page, needs_chromium
from tests.serving import serving

KIOSK = "http://kiosk.lan:8080"
ALLOWED = "access-control-allow-origin"

EXHIBIT = """<!doctype html><title>exhibit</title><script>
const [site, token] = location.hash.slice(1).split(",");
const address = new URL(site).origin;
const seen = {};
const query = token ? `?token=${token}` : "";
const source = new EventSource(`${address}/events${query}`);
source.onmessage = (event) => (seen.label = JSON.parse(event.data).label);
source.onerror = () => (seen.lost = true);
const headers = token ? {Authorization: `Bearer ${token}`} : {};
fetch(`${address}/api/streams`, {headers}).then((answer) => answer.json()).then(
  (body) => (seen.version = body.version), () => (seen.refused = true));
const image = new Image();
image.crossOrigin = "anonymous";
image.onload = () => {
  const canvas = document.createElement("canvas").getContext("2d");
  canvas.drawImage(image, 0, 0);
  seen.bytes = canvas.getImageData(0, 0, 1, 1).data.length;
};
image.onerror = () => (seen.dark = true);
image.src = `${address}/streams/lobby/jpeg${query}`;
</script>"""


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def kiosk(tmp_path: Path) -> Iterator[str]:
    """The origin of a web server of its own that gives out the page."""
    (tmp_path / "index.html").write_text(EXHIBIT)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=tmp_path))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@needs_chromium
@pytest.mark.parametrize("token", ["", "s3cret"])
def test_a_page_that_is_named_reads_events_states_and_pictures(
    page: Page, kiosk: str, token: str
) -> None:
    """With a token in the address or in a header, for which the browser asks first."""
    settings = DaemonSettings(allowed_origins=(kiosk,), token=SecretStr(token))
    with serving("lobby", settings=settings) as house:
        house.publish("lobby")
        page.open(f"{kiosk}/#{house.web.url},{token}")
        page.wait_for("seen.label === 'happy' && seen.version === '1.2.3' && seen.bytes === 4")
        assert not page.evaluate("seen.lost || seen.refused || seen.dark")
        house.web.follow(DaemonSettings(token=SecretStr(token)))
        page.wait_for("seen.lost")


@needs_chromium
def test_a_page_that_is_not_named_reads_nothing(page: Page, kiosk: str) -> None:
    with serving("lobby", settings=DaemonSettings(allowed_origins=(KIOSK,))) as house:
        house.publish("lobby")
        page.open(f"{kiosk}/#{house.web.url}")
        page.wait_for("seen.lost && seen.refused && seen.dark")
        assert not page.evaluate("seen.label || seen.version || seen.bytes")


def test_the_answers_name_the_origin_and_no_other() -> None:
    settings = DaemonSettings(allowed_origins=(KIOSK, "http://Other.lan"), token=SecretStr("t"))
    asks = {
        "Access-Control-Request-Method": "GET",
        "Access-Control-Request-Headers": "authorization",
    }
    with serving("lobby", settings=settings) as house, house.client() as client:
        for origin in (KIOSK, "http://other.lan"):
            for path, status in (("/api/streams", 401), ("/api/streams?token=t", 200)):
                answer = client.get(path, headers={"Origin": origin})
                assert (answer.status_code, answer.headers[ALLOWED]) == (status, origin)
                assert answer.headers["vary"] == "Origin"
            answer = client.options("/api/streams", headers={"Origin": origin, **asks})
            assert (answer.status_code, answer.headers[ALLOWED]) == (200, origin)
            assert "Authorization" in answer.headers["access-control-allow-headers"]
            answer = client.options(
                "/", headers={"Origin": origin, "Access-Control-Request-Method": "DELETE"}
            )
            assert answer.status_code == 400
        for origin in (
            "null",
            f"{KIOSK}.evil.example",
            "https://kiosk.lan:8080",
            "http://kiosk.lan",
        ):
            answer = client.get("/api/streams?token=t", headers={"Origin": origin})
            assert (answer.status_code, ALLOWED in answer.headers) == (200, False)
            answer = client.options("/api/streams", headers={"Origin": origin, **asks})
            assert (answer.status_code, ALLOWED in answer.headers) == (400, False)
