"""Who may read: the token and the Host header."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr
from starlette.requests import Request

from daemon.config.settings import DaemonSettings
from daemon.web import access
from tests.serving import (
    House,
    serving,
)


def secret(token: str) -> DaemonSettings:
    return DaemonSettings(token=SecretStr(token))


@pytest.fixture
def guarded() -> Iterator[House]:
    with serving("lobby", settings=secret("s3cret pässword")) as house:
        yield house


PATHS = [
    "/", "/page/page.js", "/metrics", "/api/streams", "/streams/lobby/mjpeg", "/streams/lobby/jpeg",
    "/events", "/x",
]  # fmt: skip


WRONG: list[dict[str, str]] = [
    {},
    {"Authorization": "Bearer wrong"},
    {"Authorization": "Basic s3cret"},
    {"Authorization": "Bearer"},
    {"Cookie": "affectd-9464=s3cret"},
]


def test_without_the_token_nothing_is_shown(guarded: House) -> None:
    with guarded.client() as client:
        for path, headers in itertools.product(PATHS, WRONG):
            answer = client.get(path, headers=headers)
            assert answer.status_code == 401
            assert "token" in answer.json()["error"]
            assert answer.headers["www-authenticate"] == "Bearer"
        for path, token in itertools.product(PATHS, ["", "wrong"]):
            assert client.get(path, params={"token": token}).status_code == 401


def test_health_checks_need_no_token(guarded: House) -> None:
    with guarded.client() as client:
        assert client.get("/livez").status_code == 200
        assert client.get("/readyz").status_code == 503


def test_the_token_is_taken_as_header_query_or_cookie(guarded: House) -> None:
    token = "s3cret pässword"
    with guarded.client() as client:
        bearer = {b"Authorization": f"Bearer {token}".encode()}
        assert client.get("/metrics", headers=bearer).status_code == 200
        with client.stream("GET", "/streams/lobby/mjpeg", params={"token": token}) as response:
            assert response.status_code == 200
        assert client.get("/metrics").status_code == 401
        answer = client.get("/", params={"token": token})
        assert (answer.status_code, answer.headers["location"]) == (303, "/")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=lax" in cookie
        assert "s3cret" not in cookie
        assert client.get("/").status_code == 200
        assert client.get("/metrics").status_code == 200


def test_each_page_takes_the_token_and_goes_on_without_it(guarded: House) -> None:
    query = {"stream": "a&b", "token": "s3cret pässword"}
    with guarded.client() as client:
        answer = client.get("/page/watch.html", params=query)
        assert answer.status_code == 303
        assert answer.headers["location"] == "/page/watch.html?stream=a%26b"
        assert client.get(answer.headers["location"]).status_code == 200
        assert client.get("/page/watch.js").status_code == 200


def test_a_token_with_a_plus_may_stand_in_the_address_as_it_is() -> None:
    with serving("lobby", settings=secret("a+b/c==")) as house, house.client() as client:
        for token in ["a+b/c==", "a%2Bb%2Fc%3D%3D"]:
            assert client.get(f"/metrics?token={token}").status_code == 200
        assert client.get("/metrics?token=ab/c==").status_code == 401


def test_an_open_page_stays_signed_in(guarded: House) -> None:
    with guarded.client() as client:
        signed_in = client.get("/", params={"token": "s3cret pässword"}).headers["set-cookie"]
        assert "Max-Age=34560000" in signed_in
        playlist = "/streams/lobby/hls/index.m3u8"
        for path in ("/", "/page/watch.html", "/api/streams", playlist):
            assert client.get(path).headers.get_list("set-cookie") == [signed_in]
        for path in ("/streams/lobby/mjpeg", "/api/pictures", "/events"):
            with client.stream("GET", path) as response:
                assert response.headers.get_list("set-cookie") == [signed_in]
        assert "set-cookie" not in client.get("/metrics").headers
        client.cookies.clear()
        bearer = {b"Authorization": "Bearer s3cret pässword".encode()}
        assert "set-cookie" not in client.get("/api/streams", headers=bearer).headers
        assert "set-cookie" not in client.get("/api/streams").headers


def test_two_daemons_of_a_host_keep_their_readers_signed_in() -> None:
    here, there = (
        DaemonSettings(token=SecretStr(f"s3cret {number}"))  # in containers even of one port
        for number in (1, 2)
    )
    with (
        serving("lobby", settings=here) as one,
        serving("lobby", settings=there) as other,
        one.client() as browser,  # which tells no port from another either
    ):
        assert browser.get("/", params={"token": "s3cret 1"}).status_code == 303
        sign_in = {"token": "s3cret 2"}
        assert browser.get(other.web.url, params=sign_in).status_code == 303
        assert browser.get(other.web.url).status_code == 200
        assert browser.get("/").status_code == 200


def test_behind_https_the_cookie_goes_by_nothing_else(guarded: House) -> None:
    token = {"token": "s3cret pässword"}
    with guarded.client() as client:
        assert "Secure" not in client.get("/", params=token).headers["set-cookie"]
        headers = {"X-Forwarded-Proto": "https"}
        assert "Secure" in client.get("/", params=token, headers=headers).headers["set-cookie"]


def test_own_names_are_accepted(house: House) -> None:
    with house.client() as client:
        for host in ["localhost", "localhost:9464", "127.0.0.1", "127.9.9.9:1", "[::1]:80"]:
            assert client.get("/api/streams", headers={"Host": host}).status_code == 200


def test_a_foreign_name_for_this_machine_is_refused(house: House) -> None:
    """A web site may let its own name point to 127.0.0.1: DNS rebinding."""
    hosts = ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "[::2]"]
    paths = ["/", "/api/streams", "/livez", "/streams/lobby/mjpeg"]
    with house.client() as client:
        for host, path in itertools.product([*hosts, "10.0.0.1"], paths):
            answer = client.get(path, headers={"Host": host})
            assert answer.status_code == 403
            assert "in numbers" not in answer.json()["error"]


def test_beyond_loopback_any_name_is_accepted() -> None:
    settings = DaemonSettings(listen="0.0.0.0:0", token=SecretStr("t"))
    with serving("lobby", settings=settings) as house:
        url = f"http://127.0.0.1:{house.web.port}/metrics?token=t"
        answer = httpx.get(url, headers={"Host": "cameras.example"}, timeout=60, trust_env=False)
    assert answer.status_code == 200


def test_on_loopback_a_token_opens_no_other_name(guarded: House) -> None:
    assert hosts(guarded, "cameras.example", "localhost") == [403, 401]


@pytest.mark.parametrize(
    ("settings", "policy"),
    [
        (DaemonSettings(), "same-site"),
        (DaemonSettings(token=SecretStr("t")), "cross-origin"),
        (DaemonSettings(listen="0.0.0.0:0", allow_anonymous=True), "cross-origin"),
    ],
    ids=["loopback", "token", "anonymous"],
)
def test_who_may_embed_the_pictures(settings: DaemonSettings, policy: str) -> None:
    with serving("lobby", settings=settings) as house:
        found = ask(house, "127.0.0.1").headers["cross-origin-resource-policy"]
    assert found == policy


def ask(house: House, host: str) -> httpx.Response:
    url = f"http://127.0.0.1:{house.web.port}/metrics"
    return httpx.get(url, headers={"Host": host}, timeout=60, trust_env=False)


def hosts(house: House, *names: str) -> list[int]:
    return [ask(house, name).status_code for name in names]


def test_names_of_the_configuration_are_accepted() -> None:
    settings = DaemonSettings(allowed_hosts=("nvr.lan", "Cameras.Example", "[FD00::5]"))
    with serving("lobby", settings=settings) as house:
        found = hosts(house, "nvr.lan:80", "NVR.lan", "cameras.example", "x.nvr.lan", "nvr.lan.x")
        assert hosts(house, "[fd00::5]:80", "[fd00::6]") == [200, 403]
    assert found == [200, 200, 200, 403, 403]


def test_the_host_of_listen_is_accepted_however_it_is_written() -> None:
    guard = access.Guard(DaemonSettings(listen="NVR.lan:9464", allow_anonymous=True))
    for name, passes in (("nvr.lan:9464", True), ("Nvr.LAN", True), ("nvr.lan.x", False)):
        scope = {"type": "http", "path": "/", "headers": [(b"host", name.encode())]}
        assert (guard.answer(Request(scope)) is None) == passes


def test_beyond_loopback_without_a_token_only_what_no_web_site_can_name() -> None:
    """Addresses and the machine's own name; a name of the internet's may point here."""
    settings = DaemonSettings(listen="0.0.0.0:0", allow_anonymous=True, allowed_hosts=("nvr.lan",))
    with serving("lobby", settings=settings) as house:
        own = socket.gethostname().lower().partition(".")[0]
        good = ["10.0.0.7:9464", "[fe80::1]", "localhost", own, f"{own}.local:9464", "nvr.lan", ""]
        assert hosts(house, *good) == [200] * len(good)
        bad = ["evil.example", "10.0.0.7.evil.example", "[evil]", "evil.local", f"{own}.lan"]
        assert hosts(house, *bad) == [403] * len(bad)
        error = ask(house, "evil.example").json()["error"]
        assert "any address in numbers, this machine's own name (also as NAME.local), " in error


def test_a_machine_with_a_full_name_is_called_by_its_first_part_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(access, "gethostname", lambda: "NVR.example.com")
    settings = DaemonSettings(listen="0.0.0.0:0", allow_anonymous=True)
    with serving("lobby", settings=settings) as house:
        good = ["nvr.example.com", "nvr", "nvr.local"]
        assert hosts(house, *good) == [200] * len(good)
        bad = ["nvr.example.com.local", "nvr.example", "example.com", "com"]
        assert hosts(house, *bad) == [403] * len(bad)


@pytest.mark.parametrize("path", ["/events", "/streams/lobby/mjpeg"])
def test_a_changed_token_counts_at_once_and_readers_have_to_come_again(
    guarded: House, path: str
) -> None:
    old = httpx.Headers([(b"Authorization", "Bearer s3cret pässword".encode())])
    new = httpx.Headers({"Authorization": "Bearer new"})
    with guarded.client() as client:
        client.get("/", params={"token": "s3cret pässword"})
        assert client.get("/metrics").status_code == 200
        with client.stream("GET", path, headers=old) as response:
            chunks = response.iter_raw()
            next(chunks)
            guarded.web.follow(secret("new"))
            assert list(chunks) == []
        for headers in (None, old):  # the cookie, too
            assert client.get("/metrics", headers=headers).status_code == 401
        assert client.get("/metrics", headers=new).status_code == 200


def test_every_answer_carries_the_headers_that_browsers_heed(guarded: House) -> None:
    with guarded.client() as client:
        for path in ("/", "/livez", "/none", "/page/page.js"):
            answer = client.get(path)
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "script-src" not in answer.headers["content-security-policy"]
            assert answer.headers["content-security-policy"].startswith("default-src 'self'")
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
            assert "server" not in answer.headers
