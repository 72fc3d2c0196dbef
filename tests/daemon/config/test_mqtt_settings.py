"""What affectd.toml may say of an MQTT broker."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from daemon.config.file import load
from daemon.config.sink_settings import MqttSinkSettings
from daemon.errors import ConfigError
from daemon.service import preflight
from tests.inside import inside

HEAD = "[[stream]]\nname = 'lobby'\nurl = 'demo://lobby'\n"


def sink(url: str, more: str = "") -> str:
    return f"[[stream.sink]]\nkind = 'mqtt'\nurl = '{url}'\n{more}\n"


def read(folder: Path, *parts: str) -> MqttSinkSettings:
    path = folder / "affectd.toml"
    path.write_text("".join((HEAD, *parts)))
    found = load(path, {}).settings.stream[0].sink[0]
    assert isinstance(found, MqttSinkSettings)
    return found


def refused(folder: Path, *parts: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read(folder, *parts)
    return str(caught.value).removeprefix(f"{folder / 'affectd.toml'}: ")


@pytest.mark.parametrize(
    ("url", "address", "prefix"),
    [
        ("mqtt://broker", ("broker", 1883), "affectd"),
        ("mqtts://u:p@10.0.0.9/", ("10.0.0.9", 8883), "affectd"),
        ("mqtt://[fd00::5]:2883/home/cams/", ("fd00::5", 2883), "home/cams"),
        ("MQTT://u:p@w/o?r#d@10.0.0.9/a%20b", ("10.0.0.9", 1883), "a b"),
    ],
)
def test_where_to_and_under_which_topics(
    tmp_path: Path, url: str, address: tuple[str, int], prefix: str
) -> None:
    found = read(tmp_path, sink(url))
    assert (found.address, found.prefix) == (address, prefix)
    assert (found.tls_verify, found.discovery) == (True, "homeassistant")


NO_PREFIX = "stream[0].sink[0].url: its path, which all topics begin with, cannot be one; accepted"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mqtt://u:secret@10.0.0.9/a/+/b", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9/a#", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9/%23", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9/$SYS", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9/a?qos=1", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9/a%00b", NO_PREFIX),
        ("mqtt://u:secret@10.0.0.9:99999", "stream[0].sink[0].url: names a port that cannot be"),
        ("mqtt://", "stream[0].sink[0].url: names no host; accepted is mqtt://HOST/PATH"),
        ("mqtt://u:secret%FF@10.0.0.9", "stream[0].sink[0].url: user and password are accepted"),
        (
            "tcp://u:secret@10.0.0.9",
            "stream[0].sink[0].url: accepted is a URL that begins with mqtt:// or mqtts://",
        ),
    ],
)
def test_a_url_that_will_not_do(tmp_path: Path, url: str, said: str) -> None:
    line = refused(tmp_path, sink(url))
    assert line.startswith(said)
    assert "secret" not in line


def test_discovery_begins_topics_too(tmp_path: Path) -> None:
    assert read(tmp_path, sink("mqtt://x", "discovery = ''")).discovery == ""
    assert read(tmp_path, sink("mqtt://x", "discovery = 'ha/'")).discovery == "ha"
    line = refused(tmp_path, sink("mqtt://x", "discovery = 'ha/#'"))
    assert line.startswith("stream[0].sink[0].discovery: found 'ha/#', accepted is what topics")


def test_two_sinks_may_share_a_broker_but_no_topic(tmp_path: Path) -> None:
    url = "mqtt://10.0.0.9/affectd"
    read(tmp_path, sink(url), sink(f"{url}2"), HEAD.replace("lobby", "door"), sink(url))
    line = refused(tmp_path, sink(url), sink("mqtt://me:x@10.0.0.9:1883/affectd/"))
    assert line == (
        "stream[0].sink[0].url and stream[0].sink[1].url are one address; each must have its own"
    )


def test_it_is_for_readings(tmp_path: Path) -> None:
    url = sink("mqtt://x")
    line = refused(tmp_path, "aggregate_only = true\n", url)
    assert line.startswith(
        "stream[0]: aggregate_only = true writes no reading, and a sink of kind mqtt"
    )
    line = refused(tmp_path, url, "[expression]\nenabled = false\n")
    assert "and the sink of kind mqtt of stream 'lobby'" in line
    mjpeg = "[[stream.sink]]\nkind = 'mjpeg'\n"
    path = tmp_path / "affectd.toml"
    for more, has in (("", False), (url, False), (url + mjpeg, True)):
        path.write_text(HEAD + more)
        assert load(path, {}).settings.stream[0].has_pictures is has


@pytest.mark.parametrize("missing", ["paho", "paho.mqtt.enums"], ids=["none", "an old one"])
def test_without_the_library_it_says_how_to_get_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    missing: str,
) -> None:
    path = tmp_path / "affectd.toml"
    path.write_text(HEAD + sink("mqtt://x"))
    preflight.check(path, load(path, {}).settings)
    monkeypatch.delitem(sys.modules, "daemon.sinks.broker")
    monkeypatch.setitem(sys.modules, missing, None)
    done = inside(capsys, "check", path)
    assert (done.code, done.err) == (
        2,
        [
            f"affectd: {path}: stream[0].sink[0].kind: found mqtt, which needs paho-mqtt 2: "
            "pip install 'affectd[mqtt]'"
        ],
    )


def test_users_and_passwords_that_are_no_text_are_refused_each_by_itself(tmp_path: Path) -> None:
    for url in ("mqtt://50%:p%ffx@h/x", "mqtt://a%C3:%A9@h/x"):
        assert "accepted in UTF-8" in refused(tmp_path, sink(url))


def test_streams_that_share_a_broker_need_not_wait_for_each_other(tmp_path: Path) -> None:
    path = tmp_path / "affectd.toml"
    door = HEAD.replace("lobby", "door")
    path.write_text(HEAD + sink("mqtt://x") + door + sink("mqtt://x"))
    lobby, other = load(path, {}).settings.stream
    assert lobby.holds.isdisjoint(other.holds)
