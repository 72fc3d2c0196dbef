"""References to secrets: where they are looked up, how they are put in, and what they hide."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from daemon.config.file import Loaded, load
from daemon.config.secret_refs import RefError, expand
from daemon.errors import ConfigError

NASTY = "p@ss:/w?r#d %&{}\"'\\ü"


def stream(folder: Path, url: str, env: dict[str, str], head: str = "") -> Loaded:
    path = folder / "affectd.toml"
    path.write_text(f"{head}\n[[stream]]\nname = 'lobby'\nurl = '{url}'\n", encoding="utf-8")
    return load(path, env)


def test_variable_file_and_credential(tmp_path: Path) -> None:
    (tmp_path / "cam").write_text("from a file\n\n")
    (tmp_path / "lobby").write_text("from systemd\r\n")
    env = {"NAME": "from env", "CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert expand("<${NAME}>", env).text == "<from env>"
    assert expand(f"<${{file:{tmp_path}/cam}}>", env).text == "<from a file\n>"
    assert expand("<${credential:lobby}>", env).text == "<from systemd>"


def test_a_dollar_can_be_escaped_and_alone_means_nothing() -> None:
    assert expand("$${NAME} $ $$ {x}", {}).text == "${NAME} $ $$ {x}"
    assert expand("$${NAME}", {}).values == frozenset()


def test_a_value_is_not_expanded_again() -> None:
    assert expand("${A}", {"A": "${B}", "B": "no"}).text == "${B}"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE}", "the environment variable NOPE is not set"),
        ("${file:/nope}", "${file:/nope}: /nope: No such file or directory"),
        ("${file:/}", "${file:/}: /: Is a directory"),
        ("${credential:x}", "CREDENTIALS_DIRECTORY is not set"),
        ("${credential:../x}", "found ${credential:../x}, accepted: ${NAME}, ${file:PATH}"),
        ("${vault:x}", "found ${vault:x}, accepted: ${NAME}, ${file:PATH}"),
        ("${}", "found ${}, accepted: ${NAME}"),
        ("${OPEN", "${ is never closed by }"),
        ("${BYTES}", "the environment variable BYTES is not UTF-8 text"),
        ("rtsp://u:${NONE}@cam/x", "${NONE} is empty"),
    ],
)
def test_a_reference_that_leads_nowhere(text: str, message: str) -> None:
    with pytest.raises(RefError) as caught:
        expand(text, {"BYTES": "\udcff", "NONE": ""})
    assert message in str(caught.value)


def test_an_empty_file_does_not_switch_the_token_off(tmp_path: Path) -> None:
    """Nobody has written to it yet, or somebody is about to."""
    for text in ("", "\n"):
        (tmp_path / "token").write_text(text)
        ref = f"${{file:{tmp_path}/token}}"
        with pytest.raises(ConfigError) as caught:
            stream(tmp_path, "x", {}, f"daemon.token = '{ref}'")
        assert str(caught.value).endswith(f": daemon.token: {ref} is empty")


@pytest.mark.parametrize("content", ["abc\n\n", "a\0b", "  ", " abc"])
def test_a_token_that_nobody_could_send_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "tok").write_text(content)
    head = f"daemon.token = '${{file:{tmp_path}/tok}}'"
    with pytest.raises(ConfigError) as caught:
        stream(tmp_path, "demo://", {}, head)
    accepted = "daemon.token: accepted are characters that can be printed, and no blank at either"
    assert accepted in str(caught.value)
    assert "abc" not in str(caught.value)


def test_a_byte_order_mark_is_no_part_of_a_secret(tmp_path: Path) -> None:
    (tmp_path / "tok").write_bytes(b"\xef\xbb\xbfabc\r\n")
    assert expand(f"${{file:{tmp_path}/tok}}", {}).text == "abc"


def test_a_file_that_may_never_answer_is_refused(tmp_path: Path) -> None:
    """A FIFO that nobody writes to, as a secret and as the configuration itself; a device."""
    fifo = tmp_path / "cam"
    os.mkfifo(fifo)
    with pytest.raises(RefError, match="is no regular file") as caught:
        expand(f"${{file:{fifo}}}", {})
    assert str(fifo) in str(caught.value)
    for path in (fifo, Path("/dev/zero")):
        with pytest.raises(ConfigError, match=f"{path}: is no regular file; accepted is a TOML"):
            load(path, {})


def test_a_missing_variable_names_the_key(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"stream\[0\]\.url: the environment variable CAM_PW is"):
        stream(tmp_path, "rtsp://viewer:${CAM_PW}@10.0.0.7/main", {})


def test_any_password_works_in_a_url(tmp_path: Path) -> None:
    url = "rtsp://${USER}:${PW}@10.0.0.7:554/main?name=${PW2}"
    env = {"USER": "me@home", "PW": NASTY, "PW2": "a b"}
    loaded = stream(tmp_path, url, env)
    parts = urlsplit(loaded.settings.stream[0].url.get_secret_value())
    assert unquote(parts.username or "") == "me@home"
    assert unquote(parts.password or "") == NASTY
    assert (parts.hostname, parts.port, parts.query) == ("10.0.0.7", 554, "name=a%20b")


def test_a_password_from_a_file_is_encoded_too(tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("a/b@c\n")
    text = expand(f"rtsp://u:${{file:{tmp_path}/pw}}@h/${{file:{tmp_path}/pw}}", {}).text
    assert text == "rtsp://u:a%2Fb%40c@h/a/b@c"


def test_secrets_are_returned_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "model").write_text("hidden")
    head = f"daemon.token = '${{T}}'\n[models]\ndir = '${{HOME}}/${{file:{tmp_path}/model}}'"
    env = {"T": "t0ken", "HOME": "/home/me", "PW": NASTY}
    loaded = stream(tmp_path, "rtsp://u:${PW}@h/x", env, head)
    assert loaded.secrets == {"t0ken", NASTY, "hidden"}
    assert loaded.settings.models.dir == "/home/me/hidden"
    for secret in ("t0ken", "ss:/w"):
        assert secret not in repr(loaded)


def test_a_host_or_a_channel_is_no_secret_and_a_short_password_is(tmp_path: Path) -> None:
    url = "rtsp://${U}:${PW}@${H}/ch${N}?token=${T}"
    env = {"U": "bob", "PW": "abc", "H": "lobby", "N": "1", "T": "xyz"}
    head = "daemon.token = 'a${N}'"
    assert stream(tmp_path, url, env, head).secrets == {"abc", "xyz", "a1"}
    assert stream(tmp_path, url, env | {"H": "10.0.0.7:554"}).secrets == {"abc", "xyz"}
    assert stream(tmp_path, url, env | {"PW": "lobby"}).secrets == {"lobby", "xyz"}


def test_a_token_in_a_query_may_hold_any_character(tmp_path: Path) -> None:
    env = {"T": NASTY, "U": "a&b"}
    url = "https://cam/live?x=1&token=${T}&user=${U}#${U}"
    loaded = stream(tmp_path, url, env).settings.stream[0].url.get_secret_value()
    query = urlsplit(loaded).query
    assert [unquote(pair.partition("=")[2]) for pair in query.split("&")] == ["1", NASTY, "a&b"]
    assert loaded.endswith("#a&b")
    assert expand("?token=${T}", env).text == f"?token={NASTY}"  # no URL


def test_secrets_that_stand_in_the_file_are_returned_too(tmp_path: Path) -> None:
    def secrets(url: str, head: str = "") -> set[str]:
        return set(stream(tmp_path, url, {}, head).secrets)

    assert secrets("rtsp://u:a/b%40c@cam/x?channel=1") == {"a/b@c"}
    assert secrets("rtsp://alone@cam/x") == {"alone"}
    assert secrets("https://cam/x?token=abcdef&y=1") == {"abcdef", "abcdef&y=1"}
    assert secrets("https://cam/x?token=ab&y=1") == {"ab&y=1"}  # two letters are everywhere
    assert secrets("clip.mp4") == secrets("/dev/video0") == set()
    assert secrets("clip.mp4", "daemon.token = 'raw'") == {"raw"}


def test_a_stream_key_is_a_secret_but_not_a_streams_name_nor_what_a_source_plays(
    tmp_path: Path,
) -> None:
    def secrets(key: str) -> frozenset[str]:
        sink = f"[[stream.sink]]\nkind = 'rtmp'\nurl = 'rtmp://nas/live/{key}'"
        sink += "\n[[stream]]\nname = 'backyard'\nurl = 'demo://y"
        return stream(tmp_path, f"demo://x'\n{sink}", {}).secrets

    assert secrets("abcd-efgh") == {"abcd-efgh"}
    assert secrets("backyard") == set()  # or no line could say which stream it is about
    assert secrets("cam") == set()
    assert stream(tmp_path, "rtmp://nas/live/main-stream", {}).secrets == set()
    assert stream(tmp_path, "rtmp://nas/bcs/main?user=u&password=geheim", {}).secrets == {"geheim"}
