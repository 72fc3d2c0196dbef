"""Where affectd listens, and by which names it may be called."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.daemon.config.reading import STREAM, faults, read


@pytest.mark.parametrize(
    "listen",
    [
        *("http://127.0.0.1:9464", " 127.0.0.1:9464", "127.0.0.1:9464 ", "127.0.0.1:9464/"),
        *("::1", "fd00::5", "::1:9464", "[localhost]:9464", "[::1]", "*:9464", ":9464", "a:99999"),
    ],
)
def test_an_address_that_nothing_can_listen_at(tmp_path: Path, listen: str) -> None:
    (line,) = faults(tmp_path, f"daemon.listen = '{listen}'\n{STREAM}")
    accepted = "accepted is HOST:PORT, such as 127.0.0.1:9464 or [::1]:9464"
    assert line == f"daemon.listen: found {listen!r}, {accepted}"


@pytest.mark.parametrize(
    ("listen", "host"),
    [("Localhost:9464", "Localhost"), ("[::1]:9464", "::1"), ("127.0.0.9:0", "127.0.0.9")],
)
def test_an_address_on_loopback_needs_no_token(tmp_path: Path, listen: str, host: str) -> None:
    assert read(tmp_path, f"daemon.listen = '{listen}'\n{STREAM}").settings.daemon.host == host


def test_a_host_that_may_be_called_is_a_name_or_an_address(tmp_path: Path) -> None:
    text = f"daemon.allowed_hosts = ['nvr.lan', '10.0.0.7', 'fd00::5', '[FD00:0::6]']\n{STREAM}"
    hosts = read(tmp_path, text).settings.daemon.allowed_hosts
    assert hosts == ("nvr.lan", "10.0.0.7", "fd00::5", "fd00::6")


@pytest.mark.parametrize("host", ["http://nvr.lan", "nvr.lan:80", "[fd00::5]:80", "[nvr]", ""])
def test_a_host_without_scheme_and_port(tmp_path: Path, host: str) -> None:
    (line,) = faults(tmp_path, f"daemon.allowed_hosts = ['{host}']\n{STREAM}")
    assert line.startswith(f"daemon.allowed_hosts[0]: found {host!r}, accepted is a host's name or")


def test_an_origin_is_as_browsers_tell_it(tmp_path: Path) -> None:
    told = ["http://Kiosk.lan:8080", "https://a.lan:443", "http://a.lan:80", "http://[fd00::5]:81"]
    origins = read(tmp_path, f"daemon.allowed_origins = {told}\n{STREAM}").settings.daemon
    assert origins.allowed_origins == (
        *("http://kiosk.lan:8080", "https://a.lan", "http://a.lan", "http://[fd00::5]:81"),
    )


@pytest.mark.parametrize("origin", ["kiosk.lan", "http://", "http://a/", "http://:::", "null", "*"])
def test_what_is_no_origin(tmp_path: Path, origin: str) -> None:
    (line,) = faults(tmp_path, f"daemon.allowed_origins = ['{origin}']\n{STREAM}")
    accepted = "accepted is an origin such as http://kiosk.lan:8080"
    assert line == f"daemon.allowed_origins[0]: found {origin!r}, {accepted}"
