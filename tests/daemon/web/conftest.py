"""Fixtures for tests of the web server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.browser import Browser, Page, open_browser
from tests.serving import House, serving


@pytest.fixture
def house() -> Iterator[House]:
    with serving("lobby", "door") as house:
        yield house


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with open_browser(tmp_path_factory.mktemp("chromium")) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    with browser.page() as page:
        yield page
