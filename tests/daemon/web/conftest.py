"""What tests of the web server share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serving import House, serving


@pytest.fixture
def house() -> Iterator[House]:
    with serving("lobby", "door") as house:
        yield house
