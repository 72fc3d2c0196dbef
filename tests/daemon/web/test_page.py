"""The page in a real Chromium."""

from __future__ import annotations

import re
from itertools import product

import pytest
from pydantic import SecretStr

from daemon.config.settings import COLOURS, DaemonSettings
from daemon.errors import Reason
from daemon.ladder import Ladder, Wait, rungs
from daemon.reading import FaceView
from tests.browser import Page, needs_chromium
from tests.serving import BOX_PX, HAPPY, happy_face, serving

pytestmark = needs_chromium

SIXTEEN = [f"cam{number:02}" for number in range(16)]


def card(stream: str) -> str:
    return f"document.getElementById('stream-{stream}').closest('.card')"


def shows_picture(stream: str) -> str:
    image = f"{card(stream)}.querySelector('img.live')"
    return f"!{image}.hidden && {image}.naturalWidth === 320 && {image}.offsetWidth > 0"


def text(page: Page, stream: str) -> str:
    return str(page.evaluate(f"{card(stream)}.innerText"))


def test_each_stream_has_a_card_with_its_picture_and_faces(page: Page) -> None:
    with serving("lobby", "door") as house:
        build = {"version": "1.2.3", "weights": "vgg10-abc", "device": "cpu", "detector": "haar"}
        house.metrics.build_info.info(build)
        house.health.models_loaded = True
        house.publish("lobby")
        house.publish("door")
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.card').length === 2")
        for stream in ("lobby", "door"):
            page.wait_for(shows_picture(stream))
            page.wait_for(f"{card(stream)}.querySelectorAll('.bar').length === 7")
            said = text(page, stream)
            for words in [stream, "Live", "50.0 fps", "1 face", "happy", "88 %", "face 1"]:
                assert words in said, said
        fills = f"[...{card('lobby')}.querySelectorAll('.fill')]"
        assert page.evaluate(f"{fills}.map(fill => fill.style.width)")[3] == "88%"
        colour = page.evaluate(f"getComputedStyle({fills}[3]).backgroundColor")
        assert colour == "rgb(240, 228, 66)"
        assert COLOURS["happy"] == "#F0E442"
        head = page.evaluate("document.querySelector('header').innerText")
        for words in ["2 of 2 streams live", "version 1.2.3", "vgg10-abc", "cpu", "detector haar"]:
            assert words in head
        assert "Expressions are not feelings" in page.evaluate("document.body.innerText")
        assert page.evaluate("document.getElementById('alert').hidden")
        links = page.evaluate("[...document.querySelectorAll('a')].map(a => a.pathname)")
        assert {"/metrics", "/events", "/page/watch.html"} <= set(links)
        image = f"{card('lobby')}.querySelector('img.live')"
        assert page.evaluate(f"{image}.alt") == "Live picture of lobby"
        shown = page.evaluate(f"{image}.src")
        page.wait_for(f"{image}.src !== {shown!r}")
    assert page.errors == []


def test_a_stream_that_is_down_says_so_and_comes_back_by_itself(page: Page) -> None:
    """1. Live with a picture. 2. Down: the picture gives way to the reason and the error.
    3. Live again: the picture returns, and the last fault stays readable."""
    with serving("lobby") as house:
        house.publish("lobby")
        page.open(house.web.url)
        page.wait_for(shows_picture("lobby"))

        house.stop_publishing()
        house.rows["lobby"].set_state("down", Reason.STALLED, "rtsp://cam/: no picture for 10 s")
        page.wait_for(f"{card('lobby')}.dataset.state === 'down'")
        assert page.evaluate(f"{card('lobby')}.querySelector('img.live').hidden")
        said = text(page, "lobby")
        for words in ["Down", "Its pictures stopped. affectd keeps trying.", "no picture for 10 s"]:
            assert words in said, said
        assert "happy" not in said

        house.publish("lobby")
        page.wait_for(shows_picture("lobby"))
        page.wait_for(f"{card('lobby')}.dataset.state === 'live'")
        said = text(page, "lobby")
        assert re.search(r"Last fault, \d+ s ago: rtsp://cam/: no picture for 10 s", said), said
    assert page.errors == []


def test_a_sink_that_fails_says_why_until_it_works_again(page: Page) -> None:
    with serving("lobby") as house:
        house.rows["lobby"].set_state("live")
        house.rows["lobby"].set_sink("mjpeg", True)
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.sinks li').length === 2")
        assert page.evaluate("document.querySelector('.sinks').innerText").split() == [
            "mjpeg",
            "events",
        ]
        error = "events sink: /srv/x.jsonl: no room left (No space left on device)"
        house.rows["lobby"].set_sink("events", False, Reason.DISK_FULL, error)
        page.wait_for("!!document.querySelector('.sinks li[data-state=down]')")
        said = text(page, "lobby")
        for words in ["events fails: The disk is full, for ", error]:
            assert words in said, said
        house.rows["lobby"].set_sink("events", True)
        page.wait_for("document.querySelectorAll('.sinks li[data-state=up]').length === 2")
        assert "fails" not in text(page, "lobby")
    assert page.errors == []


def test_the_daemon_may_go_and_come_back(page: Page) -> None:
    with serving("lobby") as house:
        house.publish("lobby")
        page.open(house.web.url)
        page.wait_for(shows_picture("lobby"))
        port = house.web.port
    page.wait_for("document.getElementById('alert').innerText.includes('does not answer')")
    assert page.evaluate(f"{card('lobby')}.querySelector('img.live').hidden")
    with serving("lobby", port=port) as house:
        house.health.models_loaded = True
        house.publish("lobby")
        page.wait_for(shows_picture("lobby"))
        page.wait_for("document.getElementById('alert').hidden")


@pytest.mark.parametrize(
    ("path", "place"), [("", "#alert"), ("page/watch.html?stream=lobby", ".veil")]
)
def test_where_too_many_read_pictures_a_page_says_so_and_tries_again(
    page: Page, path: str, place: str
) -> None:
    told = f"document.querySelector('{place}')"
    shown = "[...document.images].some((image) => image.naturalWidth === 320)"
    with serving("lobby", max_readers=1) as house, house.client() as client:
        house.health.models_loaded = True
        house.publish("lobby")
        with client.stream("GET", "/streams/lobby/mjpeg"):
            page.open(house.web.url + path)
            page.wait_for(f"{told}.innerText.startsWith('1 readers are connected')")
        page.wait_for(f"{told}.hidden && {shown}")


def test_a_refusal_is_told_in_its_own_words(page: Page) -> None:
    """Chromium takes every name below localhost for this machine."""
    settings = DaemonSettings(allowed_hosts=("nvr.localhost",))
    with serving("lobby", settings=settings) as house:
        page.open(f"http://nvr.localhost:{house.web.port}/")
        page.wait_for("document.querySelectorAll('.card').length === 1")
        house.web.follow(DaemonSettings())
        told = "document.getElementById('alert').innerText"
        page.wait_for(f"{told}.includes('unknown Host; accepted are localhost')")
        house.web.follow(settings)
        page.wait_for(f"{told}.includes('models')")


def test_pictures_come_back_where_their_connection_broke_without_a_word(page: Page) -> None:
    """1. It is dead: nothing comes, and nothing says so. 2. Nobody answers. 3. The network is back.
    It is a fake, since no network breaks at a test's command."""
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        source="""
            const real = fetch;
            globalThis.network = "dead";
            globalThis.fetch = (url, options) => {
                if (network === "gone") return Promise.reject(new TypeError());
                if (network === "dead" && url === "/api/pictures") return new Promise(() => {});
                return real(url, options);
            };
        """,
    )
    with serving("lobby") as house:
        house.publish("lobby")
        page.open(house.web.url)
        page.wait_for(f"{card('lobby')}.innerText.includes('Waiting for a picture')")
        page.evaluate("globalThis.network = 'gone'")
        page.wait_for(f"{card('lobby')}.dataset.state === 'lost'")
        page.evaluate("globalThis.network = 'back'")
        page.wait_for(shows_picture("lobby"))
    assert page.errors == []


def test_until_the_first_picture_the_page_says_that_it_waits(page: Page) -> None:
    """From its first second on, at which the clock stands here."""
    page.call("Page.addScriptToEvaluateOnNewDocument", source="performance.now = () => 1000")
    with serving("lobby") as house:
        house.rows["lobby"].set_state("live")
        page.open(house.web.url)
        page.wait_for(f"{card('lobby')}.dataset.state === 'live'")
        assert "Waiting for a picture" in text(page, "lobby")
    assert page.errors == []


def test_text_is_never_markup(page: Page) -> None:
    with serving("lobby") as house:
        error = "<img src=x onerror=alert(1)> & <b>bold</b>"
        house.rows["lobby"].set_state("down", Reason.INTERNAL, error)
        page.open(house.web.url)
        page.wait_for("document.querySelector('.card .error')?.textContent")
        assert page.evaluate("document.querySelector('.error').textContent") == error
        assert page.evaluate("document.querySelectorAll('.error *').length") == 0
    assert page.errors == []


def test_faces_come_and_go_and_unknown_is_no_guess(page: Page) -> None:
    with serving("lobby") as house:
        house.rows["lobby"].set_state("live")
        unread = FaceView(2, BOX_PX, None, {}, 0.0)
        unknown = FaceView(3, BOX_PX, "unknown", HAPPY, 0.0)
        house.rows["lobby"].saw(25.0, [happy_face(1), unread, unknown])
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.face').length === 3")
        verdicts = page.evaluate("[...document.querySelectorAll('.verdict')].map(v => v.innerText)")
        assert [" ".join(verdict.split()) for verdict in verdicts] == [
            "happy 88 % face 1",
            "not read yet face 2",
            "unknown face 3",
        ]
        bars = page.evaluate("[...document.querySelectorAll('.face dl')].map(dl => !dl.hidden)")
        assert bars == [True, False, True]
        house.rows["lobby"].saw(25.0, [])
        page.wait_for("document.querySelectorAll('.face').length === 0")
        assert "No face in view" in text(page, "lobby")
        house.rows["lobby"] = house.board.add("lobby", [], only_counts=True)
        house.rows["lobby"].set_state("live")
        page.wait_for("document.querySelector('.nobody').textContent.startsWith('What faces show')")
        house.rows["lobby"] = house.board.add("lobby", [])
        house.rows["lobby"].set_state("live")
        many = [happy_face(track) for track in range(10, 20)]
        house.rows["lobby"].saw(25.0, many)
        page.wait_for("document.querySelectorAll('.face').length === 6")
        assert "10 faces, 6 of them below" in text(page, "lobby")
    assert page.errors == []


def test_sixteen_streams_show_at_once(page: Page) -> None:
    """More than the six connections that a browser opens to one host."""
    with serving(*SIXTEEN) as house:
        for stream in SIXTEEN:
            house.publish(stream, interval_s=0.2)
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.card').length === 16")
        for stream in SIXTEEN:
            page.wait_for(shows_picture(stream))
        before = text(page, SIXTEEN[-1])
        page.wait_for(f"{card(SIXTEEN[-1])}.innerText !== {before!r}")
    assert page.errors == []


def test_nothing_sticks_out_at_any_width(page: Page) -> None:
    """Narrow phones to wide screens, dark and light."""
    grounds = {"dark": "rgb(15, 21, 27)", "light": "rgb(243, 245, 247)"}
    with serving("lobby", "a-stream-with-a-rather-long-name-of-its-own-in-the-north-wing") as house:
        house.publish("lobby")
        page.open(house.web.url)
        page.wait_for("document.querySelectorAll('.face').length === 1")
        for width_px, (scheme, ground) in product([320, 390, 768, 1440, 2560], grounds.items()):
            page.resize(width_px, 800, scheme)
            page.wait_for(f"innerWidth === {width_px}")
            page.wait_for(shows_picture("lobby"))
            assert page.evaluate("document.documentElement.scrollWidth") <= width_px
            shown = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert shown == ground


def test_the_token_opens_the_page_and_leaves_the_address(page: Page) -> None:
    with serving("lobby", settings=DaemonSettings(token=SecretStr("s3cret"))) as house:
        house.publish("lobby")
        page.open(f"{house.web.url}?token=s3cret")
        page.wait_for(shows_picture("lobby"))
        assert page.evaluate("location.search") == ""
        assert page.evaluate("document.cookie") == ""
    assert page.errors == []


def test_a_machine_that_is_too_slow_is_told_and_only_while_it_is(page: Page) -> None:
    """1. Readings come late: fewer views, then fewer detections. 2. There is room again."""
    now_s = 0.0
    order = rungs("ten_crop", {"ten_crop": 10, "flip": 2, "none": 1})
    ladder = Ladder(order, 1.0, clock=lambda: now_s)

    def pass_a_window(age_s: float) -> None:
        nonlocal now_s
        for _ in range(2):  # one to settle
            now_s += 10.0
            ladder.saw([Wait(age_s, age_s)], 0.01)
            ladder.decide()

    with serving("lobby") as house:
        house.board.ladder = ladder
        house.publish("lobby")
        page.open(house.web.url)
        page.wait_for(shows_picture("lobby"))
        notice = "document.getElementById('load')"
        assert page.evaluate(f"{notice}.hidden")
        pass_a_window(2.0)
        page.wait_for(f"{notice}.innerText.includes('2 of 10 views')")
        pass_a_window(2.0)
        pass_a_window(2.0)
        page.wait_for(f"{notice}.innerText.includes('read 2 times less often')")
        assert page.evaluate(f"{notice}.innerText").endswith(
            "each is read in 1 of 10 views, and they are read 2 times less often."
        )
        for _ in range(6):
            pass_a_window(0.0)
        page.wait_for(f"{notice}.hidden")
    assert page.errors == []
