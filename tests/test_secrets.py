"""No secret leaves the program: forty of them, in all places where people put them, and every place
where anybody may look."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, quote_plus

import httpx
import pytest

from tests.affectd import LIGHT, ROOT, Daemon
from tests.inside import inside
from tests.rtsp import RtspServer, needs_gstreamer

ODD = "@/:#?%&ü =+"
NOWHERE = "no-such-host.invalid"
LONG_S = 300.0  # forty streams on a machine that is busy otherwise

# Makes libraries tell all they know, and streams named boom fail with an exception that quotes
# its secret. A fake, since no library fails so on demand; everything else is the program itself.
LOUD = """
import logging, warnings
import av.logging
av.logging.set_level(av.logging.DEBUG)
logging.getLogger("libav").setLevel(logging.DEBUG)
from daemon.sources import video
from daemon.url import split_url
opened = video.VideoSource._open
def fail(self):
    if self._name.startswith("boom"):
        url = split_url(self._url).encoded()
        warnings.warn(f"cannot read {url}")
        try:
            raise OSError(5, f"cannot read {url}", url)
        except OSError as error:
            host = url.rpartition("@")[2]
            raise RuntimeError(url, url.encode(), {"url": url}, url.split("@"), host) from error
    return opened(self)
video.VideoSource._open = fail
"""


class Secret:
    """A password with an @ in its middle and odd characters all around. `marks` are parts of its
    halves that no encoding changes: whatever leaks, one of them is seen."""

    def __init__(self, number: int) -> None:
        dice = random.Random(number)
        odd = ["".join(dice.choices(ODD, k=3)) for _ in range(4)]
        self.marks = (f"Zq{number:02d}kX", f"Jv{number:02d}wY")
        self.text = f"{odd[0]}{self.marks[0]}{odd[1]}@{odd[2]}{self.marks[1]}{odd[3]}".strip()

    def seen_in(self, text: str) -> list[str]:
        """Where in `text` a part of it is seen, with what stands around."""
        forms = {self.text, quote(self.text), quote(self.text, safe=""), quote_plus(self.text)}
        low = text.lower()
        places = [low.find(part.lower()) for part in (*self.marks, *forms)]
        return [text[max(0, at - 80) : at + 40] for at in places if at >= 0]


SECRETS = [Secret(number) for number in range(40)]


def leaked(text: str, secrets: Sequence[Secret] = SECRETS) -> list[str]:
    """Where a secret is seen in `text`."""
    return [place for secret in secrets for place in secret.seen_in(text)]


def table(name: str, url: str) -> str:
    return f"[[stream]]\nname = {json.dumps(name)}\nurl = {json.dumps(url, ensure_ascii=False)}\n"


def configure(folder: Path, port: int) -> tuple[str, dict[str, str]]:
    """A stream for each secret, and the environment that they need."""
    camera, env, streams = f"127.0.0.1:{port}", {}, []
    for number, secret in enumerate(SECRETS):
        ref, raw = f"${{SECRET_{number}}}", secret.text
        env[f"SECRET_{number}"] = raw
        match number // 4:
            case 0 | 1:
                name, url = "refused", f"rtsp://viewer:{ref}@{camera}/cam"
            case 2:
                name, url = "refused-raw", f"rtsp://viewer:{raw}@{camera}/cam"
            case 3:
                name, url = "nowhere", f"rtsp://viewer:{ref}@{NOWHERE}/cam"
            case 4:
                name, url = "nowhere-raw", f"https://viewer:{raw}@{NOWHERE}/cam"
            case 5:
                name, url = "query", f"rtsp://{camera}/cam?token={ref}&x=1"
            case 6:
                name, url = "query-raw", f"http://{camera}/cam?x=1&token={raw}"
            case 7 if number % 2:
                name, url = "user-alone", f"rtsp://{ref}@{camera}/cam"
            case 7:
                name, url = "query-nowhere", f"rtsp://{NOWHERE}/cam?password={raw}"
            case 8:
                file = folder / f"secret-{number}"
                file.write_text(raw + "\n", encoding="utf-8")
                name, url = "boom", f"rtsp://viewer:${{file:{file}}}@{camera}/cam"
            case _:
                name, url = "boom-raw", f"rtsp://viewer:{raw}@{camera}/cam"
        streams.append(table(f"{name}-{number}", url))
    return "".join(streams), env


def sinks(port: int) -> str:
    """Sinks that cannot send: refused, nowhere, and with the key of a stream in the path."""
    secrets = [secret.text for secret in SECRETS[30:34]]
    urls = [
        f"rtsp://viewer:${{SECRET_36}}@127.0.0.1:{port}/out",
        f"rtsp://viewer:{secrets[0]}@127.0.0.1:{port}/out-raw",
        f"rtmp://127.0.0.1:{port}/live/${{SECRET_37}}",
        f"rtmp://{NOWHERE}/live/{secrets[1]}",
        f"rtmp://viewer:{secrets[2]}@127.0.0.1:1/live/x?token={secrets[3]}",
    ]
    return "".join(
        f"[[stream.sink]]\nkind = {json.dumps(url[:4])}\n"
        f"url = {json.dumps(url, ensure_ascii=False)}\ntimeout_s = 5.0\n"
        for url in urls
    )


@needs_gstreamer
@pytest.mark.timeout(900)
def test_forty_secrets_are_seen_nowhere(tmp_path: Path) -> None:
    """
    1. Forty streams with a secret each, at a camera that refuses them, at hosts that are not
       there, and with exceptions that quote them; libraries log all they can.
    2. All are down, with a reason and an error for each.
    3. A reload with a bad file, and one that takes the secrets from other places.
    4. Look at everything that leaves the program.
    """
    (tmp_path / "sitecustomize.py").write_text(LOUD)
    with RtspServer(user="viewer", password="another") as server:
        streams, env = configure(tmp_path, server.port)
        env["PYTHONPATH"] = f"{tmp_path}:{ROOT}"
        head = 'log_level = "debug"\n' + LIGHT
        live = table("live", "demo://live?size=160x120&fps=5") + sinks(server.port)
        with Daemon(tmp_path, head + streams + live, **env) as daemon:

            def states() -> list[dict[str, object]]:
                found: list[dict[str, object]] = daemon.get("/api/streams").json()["streams"]
                return found

            daemon.wait_for(
                lambda: all(one["state"] in ("down", "live") for one in states()),
                "all to be down",
                LONG_S,
            )
            reasons = {"refused-0": "auth_failed", "refused-raw-8": "auth_failed"}
            reasons |= {"boom-32": "internal", "boom-raw-36": "internal"}
            # A server that forty ask at once may answer some of them only the next time.
            daemon.wait_for(
                lambda: reasons.items() <= {str(s["name"]): s["reason"] for s in states()}.items(),
                "each reason",
                LONG_S,
            )
            assert all(one["last_error"] for one in states() if one["name"] != "live")

            daemon.wait_for(lambda: failed_sinks(daemon) >= 5, "all sinks to fail", LONG_S)

            daemon.configure(head + streams + live + "[[stream]]\nurl = 3\n")
            reload(daemon, "stays as it was")
            daemon.configure(head + streams.replace("/cam", "/other") + live)
            reload(daemon, "starts anew: url (not shown)")
            daemon.wait_for(
                lambda: sum(one["state"] == "down" for one in states()) >= 5,
                "them to be down",
                LONG_S,
            )

            daemon.wait_for(lambda: daemon.log.count("(auth_failed)") >= 12, "refusals", LONG_S)
            told = {path: daemon.get(path).text for path in ("/", "/metrics", "/api/streams")}
            told |= {path: daemon.get(path).text for path in ("/livez", "/readyz", "/page/page.js")}
            for path in ("/streams/refused-0/mjpeg", "/events?stream=x", "/none"):
                told[path] = daemon.get(path).text
            with httpx.stream("GET", f"{daemon.url}/events", timeout=60) as events:
                told["/events"] = next(events.iter_text())
            process = Path(f"/proc/{daemon.process.pid}")
            told["cmdline"] = (process / "cmdline").read_text()
            told["threads"] = "".join(map(comm, process.glob("task/*/comm")))
            told["ps"] = subprocess.run(["ps", "-ef"], capture_output=True, text=True).stdout
            daemon.end()
    told["log"] = daemon.log
    assert all(told.values())
    for where, text in told.items():
        assert leaked(text) == [], where
    # They were there to be hidden, and what may be seen is.
    assert "Traceback" in daemon.log
    assert "RuntimeError" in daemon.log
    assert f"rtsp://viewer:***@127.0.0.1:{server.port}" in daemon.log
    assert f"viewer:***@{NOWHERE}" in daemon.log
    assert "token=***" in daemon.log
    assert "UserWarning" in daemon.log
    assert "method DESCRIBE failed: 401" in daemon.log  # libav's own words


def comm(path: Path) -> str:
    """What a thread is called; nothing if it has just ended."""
    try:
        return path.read_text()
    except OSError:
        return ""


def failed_sinks(daemon: Daemon) -> int:
    """How many sinks have failed at least once."""
    lines = daemon.get("/metrics").text.splitlines()
    found = [line for line in lines if line.startswith("affectd_sink_errors_total{")]
    return len({line.partition('sink="')[2].partition('"')[0] for line in found})


def reload(daemon: Daemon, words: str) -> None:
    before = len(daemon.log)
    daemon.process.send_signal(signal.SIGHUP)
    daemon.wait_for(lambda: words in daemon.log[before:], words, LONG_S)


BAD = [
    "url = '{url}'\nfsp = 3",
    "urll = '{url}'",
    "url = ['{url}']",
    "url = '{typo}'",
    "url = '{url}",
    "url = {url}",
    "url = '{url}'\n'{url}' = 1",
    "url = 'x'\npolicy = '{url}'",
    "url = 'x'\nfps = '{url}'",
    "url = '{url}'\n[[stream.sink]]\nkind = '{url}'",
    "url = '{url}'\n[[stream.sink]]\nurl = '{url}'",
    "url = '{url}'\n[[stream.sink]]\nkind = 'mp4'\npath = 1\nurl = '{url}'",
    "url = '{url}'\n[daemon]\nlisten = '{url}'",
    "url = '{url}'\n[daemon]\nlisten = '0.0.0.0:x'\ntoken = '{url}'",
    "url = '{url}'\n[daemon]\ntoken = ['{url}']",
    "url = '{url}'\n[detector]\nbackend = '{url}'",
    "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = '{url}'",
    "url = 'x'\n[[stream.sink]]\nkind = 'events'\npath = '{typo}'",
    "url = 'x'\n[expression]\nweights = '{url}'",
    "url = '{url}'\n[models]\ndir = '{url}'\npull = '{url}'",
]


@pytest.mark.parametrize("text", BAD)
def test_check_says_what_is_wrong_without_a_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    for secret in SECRETS[::5]:
        for url in (f"rtsp://viewer:{secret.text}@cam/x", f"http://cam/x?token={secret.text}"):
            config = tmp_path / "affectd.toml"
            broken = text.format(url=url, typo=url.replace("tsp:", "stp:").replace("http:", "htp:"))
            config.write_text(f"[[stream]]\nname = 'a'\n{broken}\n", encoding="utf-8")
            done = inside(capsys, "check", config)
            assert done.code == 2
            assert done.err
            assert leaked("\n".join(done.err), [secret]) == []
