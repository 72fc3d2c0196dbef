"""No password leaves: in URLs, in sentences, in log records and in traces."""

from __future__ import annotations

import html
import io
import json
import logging
import random
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote

import pytest

from daemon.redact import Redactor, redact_text, redact_url, secrets_in_url, stream_key
from daemon.url import decoded, split_url

ODD = "@/:#?%&ü =+\"'<>$!"


@pytest.mark.parametrize(
    ("url", "user", "password", "host", "port", "tail"),
    [
        ("rtsp://10.0.0.7/main", None, None, "10.0.0.7", None, "/main"),
        ("rtsp://cam", None, None, "cam", None, ""),
        ("rtsp://u:p@cam:554/x", "u", "p", "cam", 554, "/x"),
        ("rtsp://u@cam/x", "u", None, "cam", None, "/x"),
        ("rtsp://u:p@[fe80::1]:554/x", "u", "p", "[fe80::1]", 554, "/x"),
        ("rtsp://u:a%40b@cam/x", "u", "a%40b", "cam", None, "/x"),
        # Raw passwords.
        ("rtsp://user:p@ss/w#rd@host:554/path", "user", "p@ss/w#rd", "host", 554, "/path"),
        ("rtsp://u:a/b@10.0.0.7/x", "u", "a/b", "10.0.0.7", None, "/x"),
        ("rtsp://u:a?b@cam.lan/x", "u", "a?b", "cam.lan", None, "/x"),
        ("rtsp://u:a:b@cam/x", "u", "a:b", "cam", None, "/x"),
        ("rtsp://u:a b@cam/x", "u", "a b", "cam", None, "/x"),
        ("rtsp://u:a@b@cam/x", "u", "a@b", "cam", None, "/x"),
        ("rtsp://u:a/b@cam/x", "u", "a/b", "cam", None, "/x"),
        ("rtsp://u:1/b@cam:554/x", "u", "1/b", "cam", 554, "/x"),
        # An @ behind the host is no user's.
        ("rtsp://10.0.0.7/ch@1", None, None, "10.0.0.7", None, "/ch@1"),
        ("rtsp://cam:554/ch@1", None, None, "cam", 554, "/ch@1"),
        ("rtsp://u:p@10.0.0.7/ch@1.sdp", "u", "p", "10.0.0.7", None, "/ch@1.sdp"),
        ("rtsp://u:p@cam/ch@1", "u", "p", "cam", None, "/ch@1"),
    ],
)
def test_the_rule_that_tells_password_from_host(
    url: str, user: str | None, password: str | None, host: str, port: int | None, tail: str
) -> None:
    split = split_url(url)
    assert (split.user, split.password, split.host, split.port, split.tail) == (
        user,
        password,
        host,
        port,
        tail,
    )


def test_a_password_is_taken_as_encoded_only_if_all_of_it_may_be() -> None:
    assert [decoded(one) for one in ("a%41b", "%41 100%", "%4")] == ["aAb", "%41 100%", "%4"]


def test_encoding_brings_any_password_through_and_does_not_encode_twice() -> None:
    dice = random.Random(4)
    for _ in range(200):
        password = "".join(dice.choices(ODD + "abc123", k=12))
        encoded = f"rtsp://us%40er:{quote(password, safe='')}@10.0.0.7:554/x?a=b#c"
        split = split_url(encoded)
        assert split.encoded() == split_url(split.encoded()).encoded()
        assert unquote(split_url(split.encoded()).password or "") == password
        raw = split_url(f"rtsp://user:{password}@10.0.0.7:554/x")
        if "%" not in password:  # "%" before two hex digits counts as encoded already
            assert unquote(split_url(raw.encoded()).password or "") == password
    assert split_url("rtsp://u:50%off@cam/x").encoded() == "rtsp://u:50%25off@cam/x"
    assert split_url("http://cam/a b/ü?x=%20").encoded() == "http://cam/a%20b/%C3%BC?x=%20"


@pytest.mark.parametrize("url", ["", "clip.mp4", "/dev/video0", "rtsp://", "rtsp://u:p@"])
def test_a_url_without_scheme_or_host_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="no "):
        split_url(url)


@pytest.mark.parametrize(
    "start", ["", " rtsp://", "rtsp//", "rtsp:", "rtsp:/", "rtsp:\\\\", "//", "rtsp;//"]
)
def test_a_password_is_known_where_the_url_is_mistyped(start: str) -> None:
    assert secrets_in_url(f"{start}admin:hun/t:er%402@10.0.0.7/main") == {"hun/t:er@2"}


@pytest.mark.parametrize("path", ["a@b.mp4", "a:b@c.mp4", "/srv/12:30:05@lobby.mp4", "12:30.mp4"])
def test_a_file_s_name_holds_no_password(path: str) -> None:
    assert secrets_in_url(path) == set()


def test_redacting_a_url_keeps_what_is_no_secret() -> None:
    assert redact_url("rtsp://viewer:geheim@10.0.0.7:554/main") == (
        "rtsp://viewer:***@10.0.0.7:554/main"
    )
    assert redact_url("rtsp://token@cam/x") == "rtsp://***@cam/x"
    assert redact_url("rtsp://cam/x") == "rtsp://cam/x"
    assert redact_url("rtsp://10.0.0.7:554/ch@1") == "rtsp://10.0.0.7:554/ch@1"
    assert "geheim" not in redact_url("rtsp://u.ser:12/geheim@cam/x")
    assert "geheim" not in repr(split_url("rtsp://u:geheim@cam/x"))
    assert redact_url("clip@home.mp4") == "clip@home.mp4"
    assert redact_url("http://cam/flv?user=a&password=ge%20heim&x=1") == (
        "http://cam/flv?user=a&password=***"
    )


@pytest.mark.parametrize("frame", ["{}", "'{}'", "cannot open '{}': refused", "<{}>", "at {}: no"])
def test_no_password_of_whatever_characters_survives_in_text(frame: str) -> None:
    dice = random.Random(frame)
    for _ in range(300):
        secret = "".join(dice.choices(ODD + "xyz", k=10)) + "SECRET"
        for written in (secret, quote(secret, safe="")):
            for host in ("10.0.0.7:554", "cam", "cam.lan"):
                text = frame.format(f"rtsp://user:{written}@{host}/main")
                shown = redact_text(text)
                assert "SECRET" not in shown, (text, shown)
                assert host in shown


def test_several_urls_and_lines_in_one_text() -> None:
    text = "from rtsp://u:aaa@cam/x to http://v:bbb@nas/y\nand 'rtsp://w:ccc@z/q' end"
    assert redact_text(text) == (
        "from rtsp://u:***@cam/x to http://v:***@nas/y\nand 'rtsp://w:***@z/q' end"
    )
    assert redact_text("mail a@b.c, see https://example.org/doc") == (
        "mail a@b.c, see https://example.org/doc"
    )


@pytest.fixture
def logged() -> Iterator[tuple[logging.Logger, Redactor, io.StringIO]]:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    redactor = Redactor()
    handler.addFilter(redactor)
    logger = logging.Logger("test")
    logger.addHandler(handler)
    yield logger, redactor, out
    handler.close()


def test_the_filter_masks_message_arguments_and_trace(
    logged: tuple[logging.Logger, Redactor, io.StringIO],
) -> None:
    logger, redactor, out = logged
    redactor.register("hunter two")
    redactor.register("")
    logger.warning("no luck with %s and %s", "rtsp://u:pa@ss@cam/x", ValueError("hunter two"))
    try:
        raise RuntimeError("rtsp://u:geheim@cam/x refused hunter%20two")
    except RuntimeError:
        logger.exception("hunter two failed", stack_info=True)  # the stack shows this line
    logger.warning("hunter two %d", "not a number")
    text = out.getvalue()
    assert "RuntimeError: rtsp://u:***@cam/x refused ***" in text
    assert "Stack (most recent call last)" in text
    for secret in ("pa@ss", "ss@", "geheim", "hunter two", "hunter%20two"):
        assert secret not in text
    record = logging.makeLogRecord({"msg": "failed", "exc_text": "ValueError: hunter two"})
    assert redactor.filter(record)
    assert record.exc_text == "ValueError: ***"  # of a trace that another handler wrote out


def test_a_longer_secret_is_masked_before_one_that_it_holds() -> None:
    redactor = Redactor()
    redactor.register("abc")
    redactor.register("abcdef")
    assert redactor.redact("x abcdef y abc") == "x *** y ***"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "https://cam/x?access_token=abc&y=1 refused",
            "https://cam/x?access_token=***&y=1 refused",
        ),
        ("rtsp://cam/user=a_password=b_channel=1", "rtsp://cam/user=a_password=***"),
        (
            "http://cam/cgi?loginuse=a&loginpas=abc refused",
            "http://cam/cgi?loginuse=a&loginpas=*** refused",
        ),
        ("rtsp://cam/x?psw=abc refused", "rtsp://cam/x?psw=*** refused"),
        ("rtsp://cam/x?passcode=abc refused", "rtsp://cam/x?passcode=*** refused"),
        ("rtsp://cam/x?pswd=a&paswd=b", "rtsp://cam/x?pswd=***&paswd=***"),
        ("srt://nas:8890?streamid=publish:a:u:p", "srt://nas:8890?streamid=***"),
        ("to rtmp://a.example/live2/ab-cd: refused", "to rtmp://a.example/live2/***: refused"),
        ("is it rtmp://a.example/live2/ab-cd?", "is it rtmp://a.example/live2/***"),
        ("to rtmp://127.0.0.1:1935: refused", "to rtmp://127.0.0.1:1935: refused"),
        ('["rtmp://nas/ab-cd","http://nas/x"]', '["rtmp://nas/***","http://nas/x"]'),
        ("rtmp://a.example//ab-cd", "rtmp://a.example//***"),
        ("header='Authorization: Basic dTpw'", "header='Authorization: ***"),
        ("to http://cam/x?key=***: refused", "to http://cam/x?key=***: refused"),
        ("the key=value pairs of 3 pages", "the key=value pairs of 3 pages"),
    ],
)
def test_what_else_lets_people_in(text: str, shown: str) -> None:
    assert redact_text(text) == shown


def test_a_secret_is_found_however_it_is_written() -> None:
    secret = "p@ss w/ör\"d'\\&<%"
    redactor = Redactor()
    redactor.register(secret)
    written = [
        secret,
        quote(secret),
        quote(secret, safe="").lower(),
        quote(quote(secret, safe=""), safe=""),
        quote_plus(secret),
        quote(secret, encoding="latin-1"),
        "".join(f"%{byte:02x}" for byte in secret.encode()),
        split_url(f"rtsp://u:{quote(secret, safe='')}@cam/").encoded()[9:-5],
        repr(secret),
        repr([secret.encode()]),
        repr(repr(secret)),
        json.dumps(secret),
        json.dumps([secret], ensure_ascii=False),
        html.escape(secret),
    ]
    for text in written:
        assert redactor.redact(f"({text})").strip("()[]b'\"\\") == "***", text


def test_what_a_url_holds_of_secrets() -> None:
    assert secrets_in_url("rtsp://u:a%40b@cam/x") == {"a@b"}
    assert secrets_in_url("rtsp://u:a b@cam/x") == {"a b"}
    assert secrets_in_url("http://cam/x?token=abcd e&y=1") == {"abcd", "abcd e&y=1"}
    assert secrets_in_url("http://cam/x?token=%26&y=1") == {"&&y=1"}  # too short alone
    assert secrets_in_url("rtsp://cam/x") == secrets_in_url("clip.mp4") == set()
    assert stream_key("rtmp://a.example/live2/abcd%2Defgh") == "abcd-efgh"
    assert stream_key("rtmp://a.example/live2?backup=1/abcd-efgh") == "abcd-efgh"
    assert stream_key("rtmp://nas/backyard") == stream_key("rtsp://cam/live/backyard") == ""
    assert stream_key("rtmp://nas/live/cam") == ""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtmp://127.0.0.1:1935/ab-cd", "rtmp://127.0.0.1:1935/***"),
        ("rtmp://a.example/live2?backup=1/ab-cd", "rtmp://a.example/live2?backup=1/***"),
        ("rtmp://a.example/app/?streamname=ab-cd&key=x", "rtmp://a.example/app/***"),
        ("rtmps://a.example/app/ab-cd?bw=1", "rtmps://a.example/app/***"),
        ("rtmp://a.example/ab-cd?bw=1", "rtmp://a.example/***"),
        ("rtmp://127.0.0.1:1935", "rtmp://127.0.0.1:1935"),
    ],
)
def test_a_stream_key_is_hidden_wherever_it_stands(url: str, shown: str) -> None:
    assert redact_url(url) == redact_text(url) == shown


def test_an_at_in_a_stream_key_shows_nothing_of_it() -> None:
    assert redact_url("rtmp://nas:1935/live/a@b/c") == "rtmp://nas:***@***"
    assert redact_url("rtmp://10.0.0.7:1935/live/a@b/c") == "rtmp://10.0.0.7:1935/live/***"
    assert redact_url("rtmp://nas:1935/a@b.c") == "rtmp://nas:***@***"
    assert redact_url("rtmp://u:p@nas/live/a") == "rtmp://u:***@nas/live/***"
    assert redact_url("rtmp://u:p/w@nas/live/a") == "rtmp://u:***@***"  # which @ is in doubt


def test_an_at_in_a_query_is_not_the_passwords() -> None:
    shown = redact_url("rtmp://u:geheim@127.0.0.1:1/live/x?token=a@b?c#d")
    assert shown == "rtmp://u:***@127.0.0.1:1/live/***"
    assert redact_url("rtsp://u:a?key=b@10.0.0.7/x") == "rtsp://u:***@10.0.0.7/x"
    assert redact_url("rtsp://:554/x?token=a b&c") == "rtsp://:554/x?token=***"


def test_no_secret_of_a_query_survives() -> None:
    dice = random.Random(5)
    for _ in range(300):
        secret = "".join(dice.choices(ODD, k=6)) + "SECRET" + "".join(dice.choices(ODD, k=4))
        for user in ("", "user:geheim@"):
            for host in ("10.0.0.7:554", "cam", "cam.lan"):
                shown = redact_url(f"rtsp://{user}{host}/main?token={secret}SECRET")
                assert "SECRET" not in shown
                assert "geheim" not in shown


@pytest.mark.parametrize("text", ["a", "?", "x://", "rtmp://a/", "rtsp://a@", "%25", "?a.b-"])
def test_a_long_line_is_cut_and_nothing_of_a_secret_is_left_at_its_end(text: str) -> None:
    redactor = Redactor()
    redactor.register("long secret" * 30)
    shown = redactor.redact(text * 8000 + "\n" + "word " * 1630 + "long secret" * 30)
    assert max(map(len, shown.splitlines())) <= 8200
    assert "long" not in shown
