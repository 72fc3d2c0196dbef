"""HLS over HTTP: to libav's own player, to the token's rules, and to those who look for files."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import av
import numpy as np
import pytest
from pydantic import SecretStr

from daemon.config.settings import DaemonSettings
from daemon.config.sink_settings import HlsSinkSettings
from daemon.errors import Reason
from daemon.frame import plane
from daemon.sinks.hls import HlsSegments
from daemon.sinks.playlist import Playlist
from daemon.web import hls
from tests.browser import needs_chromium, open_browser
from tests.daemon.outputs import Encoded, output, picture
from tests.serving import House, serving
from tests.waiting import wait_until

INDEX = "/streams/lobby/hls/index.m3u8"
TURN = (  # to hide the page, and to show it again
    "Object.defineProperty(document, 'hidden', {value: %s, configurable: true});"
    "document.dispatchEvent(new Event('visibilitychange'))"
)


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine may take its time for the first segments."""
    monkeypatch.setattr(hls, "START_S", 120.0)


@contextmanager
def watched(settings: DaemonSettings | None = None, *, mjpeg: bool = True) -> Iterator[House]:
    """A house in which a thread gives the lobby's hls sink a picture every 40 ms, each brighter
    than the one before, up to white and from black again."""
    stop = threading.Event()
    with serving("lobby", "door", settings=settings) as house:
        if not mjpeg:
            del house.feeds["lobby"]
            house.rows["lobby"] = house.board.add("lobby", ["hls", "events"])
        playlist = house.playlists["lobby"] = Playlist()
        config = HlsSinkSettings(kind="hls")
        sink = Encoded(config, HlsSegments(config, playlist))

        def give() -> None:
            began_s, seq = time.monotonic(), 0
            while not stop.wait(0.04):
                image = picture(seq, width=320, height=180)
                sink.write(output(seq, pts_s=time.monotonic() - began_s, image=image))
                seq += 1

        house.rows["lobby"].set_state("live")
        thread = threading.Thread(target=give, name="give")
        thread.start()
        try:
            yield house
        finally:
            stop.set()
            thread.join(60)
            sink.close()


def raw(house: House, target: str) -> bytes:
    """The answer to a request line as it stands: clients would tidy the path up."""
    with socket.create_connection(("127.0.0.1", house.web.port), 60) as connection:
        request = f"GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode("latin-1"))
        return b"".join(iter(lambda: connection.recv(65536), b""))


def test_the_first_reader_waits_for_the_first_segment_and_a_player_plays_on() -> None:
    with watched() as house, house.client() as client:
        (state, _) = client.get("/api/streams").json()["streams"]
        assert state["hls"] == INDEX
        url = house.web.url.rstrip("/") + INDEX
        with av.open(url, timeout=60) as container:
            lumas, times = [], []
            for frame in container.decode(video=0):
                lumas.append(int(np.median(plane(frame, 0))))
                times.append(float(frame.time or 0.0))
                if len(lumas) == 100:
                    break
    assert times == sorted(times)
    assert times[-1] - times[0] > 3.0
    assert len(set(lumas)) > 25


def test_types_and_how_long_to_keep() -> None:
    with watched() as house, house.client() as client:
        playlist = client.get(INDEX)
        assert playlist.headers["content-type"] == "application/vnd.apple.mpegurl"
        assert playlist.headers["cache-control"] == "no-store"
        segment = playlist.text.splitlines()[-1]
        for name in (segment, playlist.text.partition('URI="')[2].partition('"')[0]):
            answer = client.get(f"/streams/lobby/hls/{name}")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "video/mp4"
            assert answer.headers["cache-control"] == "private, max-age=60, immutable"
            assert answer.headers["x-content-type-options"] == "nosniff"
        assert client.head(INDEX).status_code == 200
        assert client.post(INDEX).status_code == 405


def test_no_path_leads_out() -> None:
    with watched() as house, house.client() as client:
        segment = client.get(INDEX).text.splitlines()[-1]
        for name in [
            "../../../etc/passwd",
            "..%2f..%2f..%2fetc%2fpasswd",
            "%2e%2e/%2e%2e/etc/passwd",
            "%2e%2e%2fmjpeg",
            "..%5c..%5cetc%5cpasswd",
            "%252e%252e%252fetc%252fpasswd",
            "/etc/passwd",
            "%2fetc%2fpasswd",
            "/proc/self/environ",
            f"./{segment}%00",
            f"{segment}%00.mp4",
            "0.m4s",
            "-1.m4s",
            "init-0.mp4",
            "",
            ".",
            "..",
            "%ff%fe",
            "a" * 5000,
        ]:
            answer = raw(house, f"/streams/lobby/hls/{name}")
            assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), (name, answer[:200])
            assert b"root:" not in answer
        for stream in ["..", "%2e%2e", "%2fetc", "door", "nobody"]:
            answer = raw(house, f"/streams/{stream}/hls/index.m3u8")
            assert answer.startswith(b"HTTP/1.1 404"), (stream, answer[:200])
        error = client.get("/streams/door/hls/index.m3u8").json()["error"]
        assert error == "stream 'door' has no hls sink; streams with hls: lobby"


def test_the_token_is_wanted_and_goes_on_from_the_address_to_the_segments() -> None:
    settings = DaemonSettings(token=SecretStr('s3 cret/&"?'))
    with watched(settings) as house, house.client() as client:
        assert client.get(INDEX).status_code == 401
        bearer = {"Authorization": 'Bearer s3 cret/&"?'}
        plain = client.get(INDEX, headers=bearer)
        segment = plain.text.splitlines()[-1]
        assert "?" not in segment
        assert client.get(f"/streams/lobby/hls/{segment}").status_code == 401
        assert client.get(f"/streams/lobby/hls/{segment}", headers=bearer).status_code == 200
        signed = client.get(INDEX, params={"token": 's3 cret/&"?'}).text
        for address in [signed.splitlines()[-1], signed.split('URI="')[1].split('"')[0]]:
            assert address.endswith("?token=s3%20cret%2F%26%22%3F")
            assert client.get(f"/streams/lobby/hls/{address}").status_code == 200


def test_a_stream_without_pictures_says_so_and_holds_up_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(hls, "START_S", 0.3)
    with serving("lobby") as house, house.client() as client:
        house.playlists["lobby"] = Playlist()
        answer = client.get(INDEX)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
        assert "has no pictures to show yet" in answer.json()["error"]
        house.rows["lobby"].set_state("down", Reason.NOT_FOUND)
        for wait in ({}, {"wait": "0"}):
            answer = client.get(INDEX, params=wait)
            assert answer.status_code == 503
            assert answer.json()["error"] == "stream 'lobby' is down: not_found"
        monkeypatch.setattr(hls, "START_S", 120.0)
        playlist = house.playlists["lobby"] = Playlist()
        waiting = threading.Thread(target=client.get, args=(INDEX,), name="waiting")
        waiting.start()
        wait_until(playlist.keep_if_wanted)
        house.web.stop(50)
        waiting.join(60)
        assert not waiting.is_alive()


def test_only_so_many_wait_for_the_first_segments_and_who_will_not_is_answered_at_once() -> None:
    with serving("lobby", "door", max_readers=1) as house, house.client() as client:
        lobby, door = Playlist(), Playlist()
        house.playlists |= {"lobby": lobby, "door": door}
        answer = client.get(INDEX, params={"wait": "0"})
        assert (answer.status_code, answer.content) == (204, b"")
        assert lobby.keep_if_wanted()
        waiting = threading.Thread(target=client.get, args=("/streams/door/hls/index.m3u8",))
        waiting.start()
        wait_until(door.keep_if_wanted)
        refused = client.get(INDEX)
        assert refused.status_code == 503
        assert refused.json()["error"] == "1 readers are connected, which is the limit"
        assert client.get(INDEX, params={"wait": "0"}).status_code == 204
        house.web.stop(50)
        waiting.join(60)


def test_who_waits_for_the_first_segments_makes_room_by_leaving() -> None:
    with serving("lobby", max_readers=1) as house:
        house.playlists["lobby"] = Playlist()

        def waits() -> bool:
            """Whether one more may, who then leaves."""
            with socket.create_connection(("127.0.0.1", house.web.port), 60) as client:
                client.sendall(f"GET {INDEX} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
                client.settimeout(0.3)
                try:
                    client.recv(1)
                except TimeoutError:
                    return True
                return False

        assert waits()
        wait_until(waits, 5.0)


@needs_chromium
def test_streams_without_any_picture_leave_the_page_its_connections(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """More of them than the six connections that a browser opens to one host."""
    names = [f"cam{number}" for number in range(8)]
    profile = tmp_path_factory.mktemp("chromium")
    with serving(*names) as house, open_browser(profile) as browser, browser.page() as page:
        house.feeds.clear()
        house.playlists |= {name: Playlist() for name in names}
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.card').length === 8")
        wait_until(lambda: all(playlist.keep_if_wanted() for playlist in house.playlists.values()))
        house.rows[names[-1]].set_state("live")
        page.wait_for("document.getElementById('summary').innerText === '1 of 8 streams live'")
        assert page.errors == []


@needs_chromium
def test_the_page_plays_a_stream_that_has_no_mjpeg_sink(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """1. The card plays. 2. Down: the video gives way to the reason. 3. The video alone plays.
    4. Hidden, and shown again before its loop noticed, it holds the address that it plays."""
    held = """
        globalThis.held = new Set();
        const { createObjectURL: create, revokeObjectURL: revoke } = URL;
        URL.createObjectURL = (source) => (held.add(create(source)), [...held].at(-1));
        URL.revokeObjectURL = (address) => held.delete(address) && revoke(address);
    """
    profile = tmp_path_factory.mktemp("chromium")
    with watched(mjpeg=False) as house, open_browser(profile) as browser, browser.page() as page:
        video = "document.querySelector('video')"
        page.call("Page.addScriptToEvaluateOnNewDocument", source=held)
        page.open(house.web.url)
        page.wait_for(f"!{video}.hidden && {video}.videoWidth === 320")
        page.wait_for(
            f"{video}.currentTime > 3 && {video}.getVideoPlaybackQuality().totalVideoFrames > 50",
            100.0,
        )
        assert "has no mjpeg" not in page.evaluate("document.body.innerText")
        house.rows["lobby"].set_state("down")
        page.wait_for(f"{video}.hidden")
        page.open(f"{house.web.url}page/watch.html?stream=lobby")
        page.wait_for(f"{video}.currentTime > 3 && {video}.offsetWidth > 300", 100.0)
        before = page.evaluate(f"{video}.src")
        page.evaluate(f"{TURN % 'true'}; {TURN % 'false'}")
        page.wait_for(f"held.size === 1 && held.has({video}.src) && {video}.src !== {before!r}")
        assert page.errors == []


@needs_chromium
def test_the_video_alone_says_why_there_is_none(tmp_path_factory: pytest.TempPathFactory) -> None:
    """1. No such stream. 2. No camera. 3. No picture yet. 4. It plays. 5. Nobody answers."""
    veil = "document.querySelector('.veil')"
    profile = tmp_path_factory.mktemp("chromium")
    with watched(mjpeg=False) as house, open_browser(profile) as browser, browser.page() as page:
        page.open(f"{house.web.url}page/watch.html?stream=attic")
        page.wait_for(f"{veil}.innerText.includes(\"'attic' is not configured\")")
        filled, house.playlists["lobby"] = house.playlists["lobby"], Playlist()
        house.rows["lobby"].set_state("down", Reason.NOT_FOUND)
        page.open(f"{house.web.url}page/watch.html?stream=lobby")
        page.wait_for(f"{veil}.innerText === \"stream 'lobby' is down: not_found\"")
        house.rows["lobby"].set_state("live")
        page.wait_for(f"{veil}.innerText === 'Waiting for a picture'")
        house.playlists["lobby"] = filled
        page.wait_for(f"{veil}.hidden && document.querySelector('video').currentTime > 0.5")
        house.web.stop(50)
        page.wait_for(f"{veil}.innerText === 'affectd does not answer'")


@needs_chromium
def test_what_the_browser_refuses_is_told(tmp_path_factory: pytest.TempPathFactory) -> None:
    """1. It has no H.264: card and video alone say so. 2. It plays nothing by itself: both show
    its controls. 3. Somebody presses play. The first two are fakes, since the Chromium of tests
    refuses neither."""
    video = "document.querySelector('video')"
    refusals = {
        "MediaSource.isTypeSupported = () => false": (
            "document.body.innerText.includes('This browser cannot play H.264')"
        ),
        "globalThis.press = HTMLMediaElement.prototype.play; HTMLMediaElement.prototype.play = "
        "() => Promise.reject(new DOMException('', 'NotAllowedError'))": (
            f"{video}.controls && {video}.videoWidth === 320 && {video}.offsetWidth > 300 && "
            "document.querySelector('.veil').hidden"
        ),
    }
    profile = tmp_path_factory.mktemp("chromium")
    with watched(mjpeg=False) as house, open_browser(profile) as browser:
        for refusal, shown in refusals.items():
            with browser.page() as page:
                page.call("Page.addScriptToEvaluateOnNewDocument", source=refusal)
                for path in ("", "page/watch.html?stream=lobby"):
                    page.open(house.web.url + path)
                    page.wait_for(shown)
                assert page.errors == []
                if page.evaluate("'press' in globalThis"):
                    page.evaluate(f"void press.call({video})")
                    page.wait_for(f"!{video}.paused && !{video}.controls")


@needs_chromium
def test_a_browser_that_plays_by_itself_is_helped_over_its_failures(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    """1. Without Media Source Extensions, as on iPhones, the first answer is a 503, which Chromium
    gives up at. 2. With segments there, it plays. 3. Hidden, it loads nothing. 4. It plays again.
    """
    video = "document.querySelector('video')"
    profile = tmp_path_factory.mktemp("chromium")
    with watched(mjpeg=False) as house, open_browser(profile) as browser, browser.page() as page:
        if not page.evaluate(
            "document.createElement('video').canPlayType('application/vnd.apple.mpegurl')"
        ):
            pytest.skip("this Chromium does not play HLS by itself")
        page.call("Page.addScriptToEvaluateOnNewDocument", source="delete globalThis.MediaSource")
        monkeypatch.setattr(hls, "START_S", 0.1)
        filled, house.playlists["lobby"] = house.playlists["lobby"], Playlist()
        page.open(f"{house.web.url}page/watch.html?stream=lobby")
        page.wait_for(f"{video}.error !== null")
        monkeypatch.setattr(hls, "START_S", 120.0)
        house.playlists["lobby"] = filled
        page.wait_for(f"{video}.currentTime > 0.5 && {video}.videoWidth === 320")
        page.evaluate(TURN % "true")
        assert not page.evaluate(f"{video}.hasAttribute('src')")
        page.wait_for(f"{video}.networkState === HTMLMediaElement.NETWORK_EMPTY")
        page.evaluate(TURN % "false")
        page.wait_for(f"{video}.currentTime > 0.5 && {video}.videoWidth === 320")
