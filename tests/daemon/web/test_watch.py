"""One stream's picture alone, in a real Chromium."""

from __future__ import annotations

import pytest

from daemon.errors import Reason
from tests.browser import Page, needs_chromium
from tests.serving import serving

pytestmark = needs_chromium


def test_a_picture_alone_stands_in_the_middle(page: Page) -> None:
    """The browser's own page around it may have the style that the browser gives it."""
    with serving("lobby") as house:
        house.publish("lobby")
        page.resize(800, 600)
        page.open(f"{house.web.url}streams/lobby/mjpeg")
        page.wait_for("document.querySelector('img')?.offsetWidth === 320")
        place = page.evaluate("document.querySelector('img').getBoundingClientRect().left")
        assert place == pytest.approx((800 - 320) / 2, abs=10)
    assert page.errors == []


def test_a_picture_alone_gives_way_to_what_is_wrong_and_comes_back(page: Page) -> None:
    """1. It is shown. 2. The camera is gone. 3. It is back. 4. So is the daemon, from a
    restart, at first without its models."""
    image, veil = "document.querySelector('img')", "document.querySelector('.veil')"
    shown = f"!{image}.hidden && {image}.naturalWidth === 320 && {veil}.hidden"
    with serving("lobby", "door") as house:
        house.publish("lobby")
        page.open(f"{house.web.url}page/watch.html?stream=lobby")
        page.wait_for(shown)
        assert page.evaluate(f"{image}.offsetWidth === innerWidth")
        assert house.feeds["door"].subscribers == 0
        house.stop_publishing()
        house.rows["lobby"].set_state("down", Reason.NOT_FOUND)
        page.wait_for(f"{image}.hidden && {veil}.innerText === 'Down: The source is not there'")
        house.publish("lobby")
        page.wait_for(shown)
        port = house.web.port
    page.wait_for(f"{image}.hidden && {veil}.innerText.startsWith('affectd does not answer')")
    with serving("lobby", port=port) as house:
        feeds = dict(house.feeds)
        house.feeds.clear()
        page.wait_for(f"{veil}.innerText === 'Connecting'")
        house.feeds |= feeds
        house.publish("lobby")
        page.wait_for(shown)
