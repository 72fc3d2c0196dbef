"""Model files: where they lie, that only the pinned ones load, and pulling from real servers."""

from __future__ import annotations

import hashlib
import shutil
import socket
import threading
import time
import zipfile
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from detectors import store
from detectors.errors import ModelMismatchError, ModelMissingError, PullError
from detectors.origins import Address, WheelMember
from tests.shared import MODELS, needs_shared

pytestmark = needs_shared

YUNET = store.MODELS["yunet"]
SHORT = store.MODELS["blazeface-short"]
DRIPS = 400


class Handler(BaseHTTPRequestHandler):
    """/good gives the file, /wrong other bytes, /cut half of it, /silent nothing, /noise what is no
    answer, /drips some of it byte by byte, else 404."""

    stop = threading.Event()
    dripped = 0

    def do_GET(self) -> None:
        content = (MODELS / YUNET.file).read_bytes()
        if self.path == "/silent":
            self.stop.wait(100)
            return
        if self.path == "/noise":
            self.wfile.write(b"no HTTP\r\n\r\n")
            return
        if self.path == "/drips":
            self.send_response(200)
            self.end_headers()
            for Handler.dripped in range(1, DRIPS + 1):
                self.wfile.write(b"x")
                time.sleep(0.05)
            return
        if self.path not in ("/good", "/wrong", "/cut", "/long"):
            self.send_error(404)
            return
        sent = {"/wrong": content[::-1], "/cut": content[:1000], "/long": content * 2}
        body = sent.get(self.path, content)
        self.send_response(200)
        announced = len(content) if self.path == "/cut" else len(body)
        self.send_header("Content-Length", str(announced))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[str]:
    Handler.stop.clear()
    http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    http.handle_error = lambda *_: None  # type: ignore[method-assign]  # the client hung up
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    Handler.stop.set()
    http.shutdown()
    thread.join(5)
    http.server_close()


def test_a_download_that_drips_ends_in_time(server: str, tmp_path: Path) -> None:
    with pytest.raises(PullError, match="not done after 1 s"):
        store.pull("yunet", tmp_path, origins=[Address(f"{server}/drips", total_s=0.6)])
    assert Handler.dripped < DRIPS


def test_pull_brings_the_file(server: str, tmp_path: Path) -> None:
    heard: list[tuple[int, int]] = []
    path = store.pull(
        "yunet",
        tmp_path / "new" / "models",
        origins=[Address(f"{server}/good")],
        progress=lambda done, total: heard.append((done, total)),
    )
    assert path.read_bytes() == (MODELS / YUNET.file).read_bytes()
    assert heard[-1] == (YUNET.size_bytes, YUNET.size_bytes)
    assert [entry.name for entry in path.parent.iterdir()] == [YUNET.file]


@pytest.mark.parametrize(
    ("path", "says"),
    [
        ("/wrong", f"expected {YUNET.sha256}"),
        ("/long", f"gave more than the {YUNET.size_bytes} bytes"),
        ("/cut", "cut off after 1000 of"),
        ("/none", "HTTP 404"),
        ("/noise", "BadStatusLine: no HTTP"),
        ("/silent", "no answer within 0.3 s"),
    ],
)
def test_pull_leaves_nothing_of_a_bad_answer(
    server: str, tmp_path: Path, path: str, says: str
) -> None:
    with pytest.raises(PullError, match=says) as failed:
        store.pull(
            "yunet",
            tmp_path,
            origins=[Address(server + path)],
            timeout_s=0.3 if path == "/silent" else 60.0,
        )
    assert path in str(failed.value)
    assert list(tmp_path.iterdir()) == []


def test_pull_goes_on_to_the_next_origin(server: str, tmp_path: Path) -> None:
    origins = [Address(f"{server}/none"), Address(f"{server}/wrong"), Address(f"{server}/good")]
    store.pull("yunet", tmp_path, origins=origins)
    assert store.load("yunet", tmp_path)


def test_pull_says_what_each_origin_answered(server: str, tmp_path: Path) -> None:
    origins = [Address(f"{server}/none?key=geheim"), Address(f"{server}/cut")]
    said = rf"yunet: {server}/none: HTTP 404 .*; {server}/cut: cut off"
    with pytest.raises(PullError, match=said):
        store.pull("yunet", tmp_path, origins=origins)


def test_two_may_pull_at_once(tmp_path: Path) -> None:
    """As `affectd models pull` beside a service: here while the first has brought a part."""
    there = [Address((MODELS / YUNET.file).as_uri())]

    class Slow:
        where = "slow"

        def chunks(self, timeout_s: float) -> Generator[bytes]:
            content = (MODELS / YUNET.file).read_bytes()
            yield content[:1000]
            with ThreadPoolExecutor(1) as other:
                other.submit(store.pull, "yunet", tmp_path, origins=there).result()
            yield content[1000:]

    store.pull("yunet", tmp_path, origins=[Slow()])
    assert store.load("yunet", tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == [YUNET.file]


def test_pull_from_a_port_where_nobody_listens(tmp_path: Path) -> None:
    with pytest.raises(PullError, match="refused"):
        store.pull("yunet", tmp_path, origins=[Address("http://127.0.0.1:9/x")])


def test_pull_waits_for_all_addresses_of_a_host_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As behind a firewall that drops what goes out: a port whose queue of callers is full."""
    find = socket.getaddrinfo
    with socket.create_server(("127.0.0.1", 0), backlog=0) as deaf, ExitStack() as callers:
        address = deaf.getsockname()
        for _ in range(4):
            caller = callers.enter_context(socket.socket())
            caller.setblocking(False)
            caller.connect_ex(address)

        def many(host: str, *more: Any, **options: Any) -> list[Any]:
            if host != "models.example":
                return find(host, *more, **options)
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address)] * 30

        monkeypatch.setattr(socket, "getaddrinfo", many)
        began_s = time.monotonic()
        with pytest.raises(PullError, match=r"no answer within 0\.5 s"):
            store.pull(
                "yunet", tmp_path, origins=[Address("http://models.example/x")], timeout_s=0.5
            )
        assert time.monotonic() - began_s < 10.0  # 15 s for one after the other


def test_pull_keeps_what_is_right_and_replaces_what_is_not(server: str, tmp_path: Path) -> None:
    path = tmp_path / YUNET.file
    path.write_bytes(b"another")
    with path.open("rb") as read:  # as by a service that starts now
        store.pull("yunet", tmp_path, origins=[Address(f"{server}/good")])
        assert read.read() == b"another"
    before = path.stat()
    store.pull("yunet", tmp_path, origins=[])
    after = path.stat()  # Only the time of its last reading may be another.
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_pull_into_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(PullError, match="cannot make the folder"):
        store.pull("yunet", tmp_path / "file" / "models", origins=[])


def test_pull_to_where_no_file_can_be(tmp_path: Path) -> None:
    (tmp_path / YUNET.file).mkdir()
    there = Address((MODELS / YUNET.file).as_uri())
    with pytest.raises(PullError, match=rf"yunet: cannot write {tmp_path}/.*: Is a directory"):
        store.pull("yunet", tmp_path, origins=[there])


def wheel_origin(folder: Path, member: str, content: bytes) -> WheelMember:
    """A wheel that pip accepts, in a folder that pip is told to look at and at nothing else."""
    tag = "py3-none-any"
    info = "affectd_fake_models-0.10.21.dist-info"
    files = {
        member: content,
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: affectd-fake-models\nVersion: 0.10.21\n",
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n".encode(),
        f"{info}/RECORD": b"",
    }
    with zipfile.ZipFile(folder / f"affectd_fake_models-0.10.21-{tag}.whl", "w") as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return WheelMember(
        "affectd-fake-models==0.10.21",
        "mediapipe/modules/face_detection/" + SHORT.file,
        python_version="3.12",
        platform="manylinux_2_28_x86_64",
    )


def only_from(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip know no wheels but those in `folder`."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))


def test_pull_out_of_a_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The good wheel gives its member; another content and a missing member are refused, damage is
    found, and pip is not waited for without an end."""
    member, content = SHORT.origins[1], (MODELS / SHORT.file).read_bytes()
    assert isinstance(member, WheelMember)
    index, models = tmp_path / "index", tmp_path / "models"
    index.mkdir()
    only_from(index, monkeypatch)
    wrong = wheel_origin(index, member.member, b"another")
    with pytest.raises(PullError, match="gave another file"):
        store.pull("blazeface-short", models, origins=[wrong])
    empty = wheel_origin(index, "something/else", content)
    with pytest.raises(PullError, match="holds no mediapipe/modules"):
        store.pull("blazeface-short", models, origins=[empty])
    good = wheel_origin(index, member.member, content)
    (wheel,) = index.iterdir()
    whole = wheel.read_bytes()
    wheel.write_bytes(whole.replace(content[-100:], bytes(100)))
    with pytest.raises(PullError, match="does not unpack: Bad CRC-32"):
        store.pull("blazeface-short", models, origins=[good])
    wheel.write_bytes(whole)
    with monkeypatch.context() as patch:
        patch.setattr("detectors.origins.TOTAL_S", 0.01)
        with pytest.raises(PullError, match="pip was not done after 0 s"):
            store.pull("blazeface-short", models, origins=[good])
    assert list(models.iterdir()) == []
    assert store.pull("blazeface-short", models, origins=[good]).read_bytes() == content


def test_pull_of_a_wheel_that_is_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    only_from(tmp_path, monkeypatch)
    origin = WheelMember(
        "affectd-no-such-wheel==1",
        "x",
        python_version="3.12",
        platform="any",
    )
    with pytest.raises(PullError, match="pip: ERROR: No matching distribution"):
        store.pull("blazeface-short", tmp_path, origins=[origin])


def test_load_refuses_another_content(tmp_path: Path) -> None:
    with pytest.raises(ModelMissingError, match=YUNET.file):
        store.load("yunet", tmp_path)
    path = tmp_path / YUNET.file
    shutil.copyfile(MODELS / YUNET.file, path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"x"):
        path.write_bytes(content)
        with pytest.raises(ModelMismatchError, match=f"{YUNET.file} .*expected SHA-256"):
            store.load("yunet", tmp_path)


def test_list_names_every_model_and_its_state(tmp_path: Path) -> None:
    shutil.copyfile(MODELS / YUNET.file, tmp_path / YUNET.file)
    (tmp_path / SHORT.file).write_bytes(b"another")
    states = {listed.name: listed.state for listed in store.list_models(tmp_path)}
    assert states == {
        "yunet": "verified",
        "blazeface-short": "mismatch",
        "blazeface-full": "missing",
    }


def test_every_pin_is_that_of_the_shared_file() -> None:
    for model in store.MODELS.values():
        content = (MODELS / model.file).read_bytes()
        assert hashlib.sha256(content).hexdigest() == model.sha256
        assert len(content) == model.size_bytes
        for origin in model.origins:
            assert isinstance(origin, WheelMember) or origin.where.startswith("https://")


def test_the_folder_is_the_first_that_is_named() -> None:
    everything = {
        "AFFECTD_MODELS": "/models",
        "STATE_DIRECTORY": "/var/lib/affectd:/var/lib/other",
        "XDG_STATE_HOME": "/state",
    }
    assert store.models_dir("/configured", everything) == Path("/configured")
    assert store.models_dir("", everything) == Path("/models")
    del everything["AFFECTD_MODELS"]
    assert store.models_dir("", everything) == Path("/var/lib/affectd/models")
    del everything["STATE_DIRECTORY"]
    assert store.models_dir("", everything) == Path("/state/affectd/models")
    for environ in ({}, {"XDG_STATE_HOME": "relative"}):
        assert store.models_dir("", environ) == Path.home() / ".local/state/affectd/models"


def test_where_there_is_no_home(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user without a name and $HOME, as in some containers; and a home of nobody."""

    def none(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", none)
    assert store.models_dir("", {}) == Path("/nonexistent/.local/state/affectd/models")
    said = "AFFECTD_MODELS: found '~nobody/x', and nobody of that name has a home here"
    with pytest.raises(ModelMissingError, match=said):
        store.models_dir("", {"AFFECTD_MODELS": "~nobody/x"})
