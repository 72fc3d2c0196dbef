"""What a reload would do, key by key, and that the guide tells users the same."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from pydantic import BaseModel

from daemon.config.settings import Settings
from daemon.service.reload import compare, in_effect, is_applied
from tests.affectd import ROOT

GUIDE = ROOT / "docs" / "reload.md"
STREAM = {"name": "a", "url": "rtsp://u:geheim@cam/a"}


def settings(*streams: Mapping[str, object], **tables: object) -> Settings:
    return Settings.model_validate({"stream": streams or (STREAM,), **tables}, strict=False)


def keys(table: type[BaseModel], prefix: str) -> list[str]:
    return [f"{prefix}.{name}" for name in table.model_fields]


def lines(before: Settings, after: Settings) -> list[str]:
    return list(compare(before, before, after).lines())


def test_nothing_changed() -> None:
    same = settings({"name": "b", "url": "x.mp4"}, STREAM)
    other = settings(STREAM, {"name": "b", "url": "x.mp4"})  # Their order alone means nothing.
    assert lines(same, other) == ["nothing changed"]


def test_streams_are_told_apart_by_name_and_no_secret_is_shown() -> None:
    before = settings(STREAM, {"name": "b", "url": "b.mp4"}, {"name": "c", "url": "c.mp4"})
    other = {"name": "a", "url": "rtsp://u:neu@cam/a", "fps": 12.5, "loop": True}
    after = settings({"name": "d", "url": "d.mp4"}, other, {"name": "c", "url": "c.mp4"})
    changes = compare(before, before, after)
    assert (changes.added, changes.removed) == (("d",), ("b",))
    assert list(changes.lines()) == [
        "stream a starts anew: url (not shown), loop false -> true, fps 30.0 -> 12.5",
        "stream d is new",
        "stream b is gone",
    ]


def test_sinks_are_compared_by_their_place() -> None:
    picture: dict[str, object] = {"kind": "mjpeg"}
    film: dict[str, object] = {"kind": "events", "path": "a.jsonl"}
    one, two = (
        settings({**STREAM, "sink": [picture]}),
        settings({**STREAM, "sink": [picture, film]}),
    )
    assert lines(one, two) == [
        "stream a starts anew: sink[1].kind events is new, sink[1].path a.jsonl is new"
    ]
    assert lines(two, one) == ["stream a starts anew: sink[1].kind gone, sink[1].path gone"]
    push = {"kind": "rtsp", "url": "rtsp://u:geheim@server/a"}
    (told,) = lines(one, settings({**STREAM, "sink": [picture, push]}))
    assert "sink[1].url (not shown) is new" in told
    assert "geheim" not in told
    finer = settings({**STREAM, "sink": [{**picture, "quality": 90}]})
    assert lines(one, finer) == ["stream a starts anew: sink[0].quality 75 -> 90"]


def test_what_waits_for_a_restart_is_said_until_it_came() -> None:
    """
    1. One key is applied and one waits. 2. The next reload names the one that waits again.
    3. Once it is back at what the daemon started with, nothing waits.
    """
    started = settings()
    first = settings(expression={"tta": "none", "max_blur": 0.5})
    assert lines(started, first) == [
        "applied: expression.max_blur 0.85 -> 0.5",
        "needs a restart: expression.tta ten_crop -> none",
    ]
    second = compare(started, first, first)
    assert list(second.lines()) == ["needs a restart: expression.tta ten_crop -> none"]
    back = compare(started, first, settings(expression={"max_blur": 0.5}))
    assert list(back.lines()) == ["nothing changed"]


def test_a_token_is_named_and_not_shown() -> None:
    told = lines(settings(), settings(daemon={"token": "geheim", "allowed_hosts": ["nvr.lan"]}))
    assert told == [
        "applied: daemon.token (not shown), daemon.allowed_hosts [] -> [nvr.lan]",
    ]


def test_who_may_read_waits_with_the_address() -> None:
    """
    1. An open address becomes loopback and the token goes: the token stays until the restart.
    2. The address is taken back, with another token: that is asked for at once.
    """
    started = settings(daemon={"listen": "0.0.0.0:9464", "token": "geheim"})
    near = settings(daemon={"log_level": "debug"})
    assert list(compare(started, started, near).lines()) == [
        "applied: daemon.log_level info -> debug",
        "needs a restart: daemon.listen 0.0.0.0:9464 -> 127.0.0.1:9464, daemon.token (not shown)",
    ]
    now = in_effect(started, started, near)
    assert now.daemon.token.get_secret_value() == "geheim"
    assert now.daemon.log_level == "debug"
    back = settings(daemon={"listen": "0.0.0.0:9464", "token": "neu", "log_level": "debug"})
    assert list(compare(started, now, back).lines()) == ["applied: daemon.token (not shown)"]
    assert in_effect(started, now, back) == back


@pytest.mark.parametrize("table", [name for name in Settings.model_fields if name != "stream"])
def test_the_guide_tells_of_every_key_what_a_reload_makes_of_it(table: str) -> None:
    """Each key stands in the guide once, in the row of what is applied or of what waits."""
    rows = {
        row.split("|")[1].strip(): row.split("|")[2]
        for row in GUIDE.read_text(encoding="utf-8").splitlines()
        if row.startswith("|")
    }
    annotation = Settings.model_fields[table].annotation
    assert isinstance(annotation, type)
    assert issubclass(annotation, BaseModel)
    for key in keys(annotation, table):
        name = key.rpartition(".")[2]
        expected = "at once" if is_applied(key) or is_applied(f"{key}.") else "restart"
        cells = {
            when: f"`{name}`" in rows[f"[{table}] {when}"]
            for when in ("at once", "restart")
            if f"[{table}] {when}" in rows
        }
        assert [when for when, there in cells.items() if there] == [expected], key
