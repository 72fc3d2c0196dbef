"""The states of streams of the running program, alike on the page, in the API and in metrics."""

from __future__ import annotations

from pathlib import Path

from tests.affectd import Daemon
from tests.browser import needs_chromium, open_browser
from tests.rtsp import RtspServer, needs_gstreamer

CONFIG = """
[detector]
backend = "haar"
[expression]
enabled = false
[[stream]]
name = "lobby"
url = "demo://lobby?faces=1&size=640x360&fps=5&seed=3"
[[stream.sink]]
kind = "mjpeg"
[[stream]]
name = "door"
url = "{url}"
stall_timeout_s = 40.0
[[stream.sink]]
kind = "mjpeg"
[[stream]]
name = "yard"
url = "rtsp://viewer:geheim@127.0.0.1:1/main"
[[stream.sink]]
kind = "mjpeg"
"""
WORDS = {
    "lobby": ["Live", "fps"],
    "door": ["Stalled", "Its pictures stopped. affectd keeps trying.", "No picture since "],
    "yard": [
        "Down",
        "Nobody answers at its address",
        "No picture yet, for ",
        "rtsp://viewer:***@127.0.0.1:1/main",
    ],
}


@needs_gstreamer
@needs_chromium
def test_one_live_one_stalled_one_down(tmp_path: Path) -> None:
    """
    1. Three streams: a drawn one, a camera, and one whose address nobody answers at.
    2. The camera's server stands still: before its time-out has passed the stream is stalled,
       and page, API and metrics say so; the picture is covered.
    3. The server is killed and comes back: the stream is live again, with the reason counted.
    """
    with (
        RtspServer() as server,
        Daemon(tmp_path, CONFIG.format(url=server.url())) as daemon,
        open_browser(tmp_path / "profile") as browser,
        browser.page() as page,
    ):

        def is_in(name: str, state: str) -> bool:
            return daemon.stream(name)["state"] == state

        for name, state in (("lobby", "live"), ("door", "live"), ("yard", "down")):
            daemon.wait_for(lambda n=name, s=state: is_in(n, s), f"{name} to be {state}")  # type: ignore[misc]
        page.resize(1600, 640)
        page.open(daemon.url)
        page.wait_for("document.querySelectorAll('.card[data-state=live]').length === 2", 60.0)

        server.freeze()
        daemon.wait_for(lambda: is_in("door", "stalled"), "the door to be stalled")
        said = daemon.stream("door")
        assert (said["reason"], said["faces"], said["fps"]) == ("stalled", [], 0.0)
        metrics = daemon.get("/metrics").text
        for name, state in (("lobby", "live"), ("yard", "down")):
            assert f'affectd_stream_state{{state="{state}",stream="{name}"}} 1.0' in metrics
        assert 'affectd_stream_up{stream="yard"} 0.0' in metrics
        for name, words in WORDS.items():
            state = {"lobby": "live", "door": "stalled", "yard": "down"}[name]
            card = f"document.getElementById('stream-{name}').closest('.card')"
            page.wait_for(f"{card}.dataset.state === '{state}'", 60.0)
            shown = page.evaluate(f"{card}.innerText")
            for word in words:
                assert word in shown, shown
            hidden = page.evaluate(f"{card}.querySelector('img.live').hidden")
            assert hidden == (state != "live")
        page.screenshot(tmp_path / "states.png")

        server.stop()
        server.start()
        daemon.wait_for(lambda: is_in("door", "live"), "the door to be live again")
        daemon.wait_for_metric('affectd_stream_up{stream="door"} 1.0')
        metrics = daemon.get("/metrics").text
        assert 'affectd_stream_reconnects_total{reason="' in metrics
        again = daemon.stream("door")
        assert again["last_error"]
        assert again["last_error_at"]
        assert page.errors == []
        assert daemon.end()[0] == 0
