"""SIGHUP to the program itself: what changed starts anew, and nothing else notices."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import httpx
import pytest

from tests.affectd import END_S, LIGHT, Daemon, affectd
from tests.media import frames_in
from tests.nets import save_tiny
from tests.rtsp import RtspServer, needs_gstreamer
from tests.shared import needs_shared

PASSWORD = "ge@heim/ü #1"


def stream(name: str, url: str = "", *sinks: str, more: str = "") -> str:
    url = url or f"demo://{name}?faces=1&size=320x240&fps=10&seed=3"
    tables = "".join(f"[[stream.sink]]\n{sink}\n" for sink in sinks)
    return f'[[stream]]\nname = "{name}"\nurl = "{url}"\n{more}\n{tables}'


def sink(kind: str, path: str = "") -> str:
    return f'kind = "{kind}"\n' + (f'path = "{path}"\n' if path else "")


def reload(daemon: Daemon, text: str | None = None) -> str:
    """Write the configuration, send SIGHUP, and return what was logged until it was through."""
    if text is not None:
        daemon.configure(text)
    before = len(daemon.log)
    at = daemon.get("/metrics").text
    daemon.process.send_signal(signal.SIGHUP)

    def is_through() -> bool:
        said = daemon.log[before:]
        if "stays as it was" in said:
            return True
        return "SIGHUP" in said and _reloaded_at(daemon.get("/metrics").text) != _reloaded_at(at)

    daemon.wait_for(is_through, "the reload")
    return daemon.log[before:]


def _reloaded_at(metrics: str) -> str:
    name = "affectd_config_last_reload_success_timestamp_seconds "
    return next(line for line in metrics.splitlines() if line.startswith(name))


def is_live(daemon: Daemon, name: str) -> bool:
    streams = {one["name"]: one for one in daemon.get("/api/streams").json()["streams"]}
    return name in streams and streams[name]["state"] == "live" and streams[name]["frames"] > 2


def open_files(daemon: Daemon, ending: str) -> set[tuple[str, str]]:
    """The files of that ending which the program holds open, by descriptor."""
    found = set()
    for link in Path(f"/proc/{daemon.process.pid}/fd").iterdir():
        try:
            path = str(link.readlink())
        except FileNotFoundError:
            continue
        if path.endswith(ending):
            found.add((link.name, path))
    return found


@needs_shared
def test_only_what_changed_starts_anew(tmp_path: Path) -> None:
    """
    1. Four streams: one that will stay, one to change, one to go, and one that is down.
    2. SIGHUP with the second changed, the third gone and a fifth.
    3. The first goes on in the same files, with the same face and the numbers that follow.
    4. The second has a new recording; who reads its pictures goes on reading.
    5. Of the third no series is left, and the fifth delivers.
    """
    weights = save_tiny(tmp_path / "tiny.safetensors")
    models = (
        f'[detector]\nbackend = "yunet"\n[expression]\nweights = "{weights}"\ntta = "none"\n'
        "[tracking]\nmax_missing_s = 60.0\n"
    )
    stay = stream("stay", "", sink("mp4", "stay.mp4"), sink("events", "stay.jsonl"))
    change = [sink("mjpeg"), sink("mp4", "change.mp4")]
    go = stream("go", "", sink("mjpeg"))
    down = stream("down", "rtsp://127.0.0.1:1/x")
    before = models + stay + stream("change", "", *change) + go + down
    more = "stall_timeout_s = 7.0"
    after = models + stream("new") + down + stream("change", "", *change, more=more) + stay
    read = tmp_path / "stay.jsonl"
    with Daemon(tmp_path, before) as daemon:
        daemon.wait_for(lambda: read.exists() and read.read_text().count("\n") >= 5, "readings")
        for name in ("change", "go"):
            daemon.wait_for(lambda name=name: is_live(daemon, name), name)  # type: ignore[misc]
        daemon.wait_for(lambda: len(open_files(daemon, "stay.mp4")) == 1, "the recording")
        files = open_files(daemon, "stay.mp4")
        daemon.wait_for_metric('affectd_stream_state{state="down",stream="down"} 1.0')
        with httpx.stream("GET", f"{daemon.url}/streams/change/mjpeg", timeout=60) as pictures:
            chunks = pictures.iter_raw()
            next(chunks)
            said = reload(daemon, after)
            for name in ("change", "new"):
                daemon.wait_for(lambda name=name: is_live(daemon, name), name)  # type: ignore[misc]
            for _ in range(20):
                next(chunks)
        assert "stream change starts anew: stall_timeout_s 10.0 -> 7.0" in said
        assert "stream new is new" in said
        assert "stream go is gone" in said
        assert "stay" not in said.partition("SIGHUP")[2].replace("stays", "")
        lines = read.read_text().count("\n")
        daemon.wait_for(lambda: read.read_text().count("\n") >= lines + 5, "readings that go on")
        assert open_files(daemon, "stay.mp4") == files
        load = {"crops": 1, "crops_wanted": 1, "thinning": 1}
        assert daemon.get("/api/streams").json()["load"].items() >= load.items()
        metrics = daemon.get("/metrics").text
        assert 'stream="go"' not in metrics
        assert 'affectd_stream_state{state="down",stream="down"} 1.0' in metrics
        assert daemon.get("/streams/go/mjpeg").status_code == 404
        names = [one["name"] for one in daemon.get("/api/streams").json()["streams"]]
        assert names == ["new", "down", "change", "stay"]
        code, took_s = daemon.end()
    assert (code, took_s < END_S) == (0, True), daemon.log
    readings = [json.loads(line) for line in read.read_text().splitlines()]
    seqs = [reading["seq"] for reading in readings]
    assert seqs == sorted(set(seqs))  # A stream that starts anew counts from 0.
    tracks = [reading["track"] for reading in readings]
    assert tracks == sorted(tracks)  # More than one where frames were dropped on a busy machine.
    films = {path.stem for path in tmp_path.glob("*.mp4")}
    assert len([name for name in films if name.startswith("change")]) == 2
    assert [name for name in films if name.startswith("stay")] == ["stay"]
    for path in tmp_path.glob("*.mp4"):
        assert frames_in(path) > 0, path


def test_a_bad_file_changes_nothing_and_a_new_secret_is_read(tmp_path: Path) -> None:
    """
    1. A stream whose password is in a file is down; another is live.
    2. A file with a typing mistake: the lines of `check` are logged, nothing changes.
    3. The password's file alone changes: its stream starts anew, and nobody sees the password.
    4. Keys for all streams are applied, or named as in need of a restart.
    """
    secret = tmp_path / "secret"
    secret.write_text("old-password\n")
    camera = stream("camera", f"rtsp://viewer:${{file:{secret}}}@127.0.0.1:1/x")
    text = LIGHT + camera + stream("lobby")
    with Daemon(tmp_path, text) as daemon:
        daemon.wait_for(lambda: is_live(daemon, "lobby"), "lobby")
        frames = daemon.stream("lobby")["frames"]

        at = _reloaded_at(daemon.get("/metrics").text)
        said = reload(daemon, text.replace("lobby", "Lobby") + "[overlay]\nbar = false\n")
        checked = affectd("check", daemon.config, cwd=tmp_path)
        assert checked.returncode == 2
        for line in checked.stderr.splitlines():
            assert line.removeprefix("affectd: ") in said
        metrics = daemon.get("/metrics").text
        assert "affectd_config_last_reload_successful 0.0" in metrics
        assert _reloaded_at(metrics) == at
        assert [one["name"] for one in daemon.get("/api/streams").json()["streams"]] == [
            "camera",
            "lobby",
        ]

        secret.write_text(PASSWORD + "\n")
        said = reload(daemon, text)
        assert "stream camera starts anew: url (not shown)" in said
        assert "affectd_config_last_reload_successful 1.0" in daemon.get("/metrics").text

        more = "[overlay]\nbars = false\n[tracking]\nhalf_life_s = 0.25\n[models]\npull = false\n"
        more += '[overlay.colours]\nhappy = "#123456"\n'
        every = text.replace("[detector]", "[detector]\nevery = 2")
        said = reload(daemon, f'log_level = "debug"\n{every}{more}')
        daemon.wait_for_metric('affectd_detect_every_frames{stream="lobby"} 2.0')
        assert daemon.get("/api/streams").json()["colours"]["happy"] == "#123456"
        daemon.wait_for(lambda: " DEBUG " in daemon.log, "what is logged of a try")
        assert "tracking.half_life_s 0.5 -> 0.25, overlay.bars true -> false" in said
        assert "needs a restart: models.pull true -> false" in said
        assert "starts anew" not in said
        daemon.wait_for(
            lambda: int(str(daemon.stream("lobby")["frames"])) > int(str(frames)), "frames"
        )

        daemon.configure(text + stream("late"))
        daemon.process.send_signal(signal.SIGHUP)
        code, took_s = daemon.end()
    assert (code, took_s < END_S) == (0, True), daemon.log
    assert "old-password" not in daemon.log
    assert "heim" not in daemon.log


def test_a_new_token_is_asked_for_at_once(tmp_path: Path) -> None:
    """
    1. Somebody reads pictures with the token. 2. The token changes.
    3. The reader is sent away; the old token is refused, the new one taken.
    4. The token goes together with the address: both wait for a restart.
    """
    text = LIGHT + stream("lobby", "", sink("mjpeg"))
    with Daemon(tmp_path, f'token = "one"\n{text}') as daemon:
        url = f"{daemon.url}/streams/lobby/mjpeg?token=one"
        with httpx.stream("GET", url, timeout=60) as pictures:
            chunks = pictures.iter_raw()
            next(chunks)
            daemon.configure(f'token = "two"\n{text}')
            daemon.process.send_signal(signal.SIGHUP)
            for _ in chunks:
                pass  # until the end of the response, which a picture never brings
        assert daemon.get("/metrics", Authorization="Bearer one").status_code == 401
        assert daemon.get("/metrics", Authorization="Bearer two").status_code == 200
        daemon.wait_for(lambda: "applied: daemon.token (not shown)" in daemon.log, "the log")
        daemon.config.write_text(f'[daemon]\nlisten = "127.0.0.2:0"\n{text}')
        daemon.process.send_signal(signal.SIGHUP)
        daemon.wait_for(lambda: "127.0.0.2:0, daemon.token (not shown)" in daemon.log, "the log")
        assert daemon.get("/metrics").status_code == 401
        assert daemon.get("/metrics", Authorization="Bearer two").status_code == 200
        assert daemon.end()[0] == 0


class Hurried(Daemon):
    """Its configuration changes while it still loads its models."""

    def __init__(self, folder: Path, text: str, changed: str) -> None:
        super().__init__(folder, text)
        self._changed = changed

    def wait_until_up(self) -> None:
        self.wait_for(lambda: "loading models" in self.log, "it to load")
        self.configure(self._changed)
        self.process.send_signal(signal.SIGHUP)
        self.process.send_signal(signal.SIGHUP)
        super().wait_until_up()


@needs_shared
@pytest.mark.parametrize("good", [True, False])
def test_what_changes_while_models_load_is_taken_over_after(tmp_path: Path, good: bool) -> None:
    """
    1. A second stream comes, and SIGHUP, while models load: a real net, which takes a while.
    2. It starts with the first, reads the file again, and has the second; or says what is wrong
       with the file and goes on as it was.
    """
    models = '[detector]\nbackend = "yunet"\n'
    changed = models + stream("lobby") + stream("late")
    if not good:
        changed += "[overlay]\nbar = false\n"
    with Hurried(tmp_path, models + stream("lobby"), changed) as daemon:
        told = "stream late is new" if good else "the configuration stays as it was"
        daemon.wait_for(lambda: told in daemon.log, "the reload")
        for name in ("lobby", "late") if good else ("lobby",):
            daemon.wait_for(lambda name=name: is_live(daemon, name), name)  # type: ignore[misc]
        daemon.wait_for_metric(f"affectd_config_last_reload_successful {good:d}.0")
        names = [one["name"] for one in daemon.get("/api/streams").json()["streams"]]
        assert names == (["lobby", "late"] if good else ["lobby"])
        code, took_s = daemon.end()
    assert (code, took_s < END_S) == (0, True), daemon.log
    assert daemon.log.index("loading models") < daemon.log.index("SIGHUP")


@needs_gstreamer
@pytest.mark.parametrize("stop", [False, True])
def test_a_stream_that_hangs_holds_up_neither_reload_nor_stop(tmp_path: Path, stop: bool) -> None:
    """
    1. A camera stands still in the middle of a read that has 60 s left.
    2. Its stream goes from the configuration, and another comes.
    3. The new one delivers at once and nothing is left of the old one, also when its thread has
       come back; or a stop in the middle of that: exit 0 in time.
    """
    with RtspServer() as server:
        text = LIGHT + stream("camera", server.url(), more="stall_timeout_s = 60.0")
        with Daemon(tmp_path, text + stream("lobby")) as daemon:
            for name in ("camera", "lobby"):
                daemon.wait_for(lambda name=name: is_live(daemon, name), name)  # type: ignore[misc]
            server.freeze()
            if stop:
                daemon.configure(LIGHT + stream("lobby"))
                daemon.process.send_signal(signal.SIGHUP)
                daemon.wait_for(lambda: "stream camera is gone" in daemon.log, "the reload")
            else:
                reload(daemon, LIGHT + stream("lobby") + stream("new"))
                daemon.wait_for(lambda: is_live(daemon, "new"), "new")
                assert 'stream="camera"' not in daemon.get("/metrics").text
                server.stop()  # The read ends, and the thread with it.
                before = daemon.stream("lobby")["frames"]
                daemon.wait_for(
                    lambda: int(str(daemon.stream("lobby")["frames"])) > int(str(before)) + 10, "on"
                )
                assert 'stream="camera"' not in daemon.get("/metrics").text
                assert daemon.get("/livez").status_code == 200
            code, took_s = daemon.end()
    assert (code, took_s < END_S) == (0, True), daemon.log
    assert "Traceback" not in daemon.log


def test_covered_from_the_reload_on_nothing_bare_is_served_any_more(tmp_path: Path) -> None:
    """
    1. A player reads a stream with bare faces. 2. A reload covers them.
    3. The list begins anew with later numbers, and what it named before is gone.
    """

    def listed() -> list[int]:
        answer = daemon.get("/streams/lobby/hls/index.m3u8")
        lines = answer.text.splitlines() if answer.status_code == 200 else []
        return [int(line.removesuffix(".m4s")) for line in lines if line.endswith(".m4s")]

    bare = LIGHT + stream("lobby", "", sink("hls"))
    with Daemon(tmp_path, bare) as daemon:
        daemon.wait_for(lambda: len(listed()) >= 2, "two segments")
        before = listed()
        reload(daemon, LIGHT + stream("lobby", "", sink("hls"), more='privacy = "blur"'))
        daemon.wait_for(lambda: len(listed()) > 0, "covered segments")
        assert min(listed()) > max(before)
        for number in before:
            assert daemon.get(f"/streams/lobby/hls/{number}.m4s").status_code == 404


def test_a_reload_asks_for_nothing_that_the_models_at_hand_cannot_give(tmp_path: Path) -> None:
    """
    1. No model could be had, so the daemon runs with Haar, and reads no face.
    2. A reload would cover faces. 3. One would read them, and write what it reads. 4. One would
       write a film where a folder is.
    """
    plain = (
        f'[detector]\nbackend = "auto"\n[models]\ndir = "{tmp_path}"\npull = false\n'
        "[expression]\nenabled = false\n"
    )
    with Daemon(tmp_path, plain + stream("lobby")) as daemon:
        daemon.wait_for(lambda: is_live(daemon, "lobby"), "lobby")
        said = reload(daemon, plain + stream("lobby", more='privacy = "blur"'))
        assert 'stream lobby: privacy = "blur" wants a better detector than Haar' in said
        assert "the configuration stays as it was" in said
        reading = plain.replace("enabled = false", "enabled = true")
        said = reload(daemon, reading + stream("lobby", "", sink("events", "lobby.jsonl")))
        assert "affectd was started with expression.enabled = false" in said
        assert "the configuration stays as it was" in said
        (folder := tmp_path / "lobby.mp4").mkdir()
        said = reload(daemon, plain + stream("lobby", "", sink("mp4", str(folder))))
        assert "path: is a folder" in said
        assert "the configuration stays as it was" in said
