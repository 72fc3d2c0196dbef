"""A file becomes Settings, or every fault of it becomes one line that a person can act upon."""

from __future__ import annotations

from pathlib import Path

import pytest

from classifiers.expression import LABELS
from daemon.config.file import load
from daemon.config.sink_settings import EventsSinkSettings, MjpegSinkSettings
from daemon.errors import ConfigError
from tests.daemon.config.reading import STREAM, faults, read


def test_a_small_file_gets_the_defaults(tmp_path: Path) -> None:
    settings = read(tmp_path, STREAM).settings
    assert settings.daemon.port == 9464
    assert settings.detector.backend == "auto"
    assert settings.stream[0].url.get_secret_value() == "clip.mp4"


def test_values_get_the_types_of_the_schema(tmp_path: Path) -> None:
    text = (
        "tracking.half_life_s = 2\n[overlay.colours]\nhappy = '#112233'\n"
        + STREAM
        + "sink = [{kind = 'mjpeg'}, {kind = 'events', path = 'a/b.jsonl'}]"
    )
    settings = read(tmp_path, text).settings
    assert settings.tracking.half_life_s == 2.0
    assert settings.overlay.colours["happy"] == "#112233"
    assert settings.overlay.colours["sad"] == "#0072B2"
    mjpeg, events = settings.stream[0].sink
    assert isinstance(mjpeg, MjpegSinkSettings)
    assert isinstance(events, EventsSinkSettings)
    assert events.path == Path("a/b.jsonl")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[detector]\nbacknd = 'haar'", "detector.backnd: unknown key; did you mean backend?"),
        ("[detectr]", "detectr: unknown key; did you mean detector?"),
        ("backend = 'haar'", "backend: unknown key here; accepted in [detector]"),
        ("fps = 5", "fps: unknown key here; accepted in [[stream]]"),
        (
            "expression.neutral = 1",
            "expression.neutral: unknown key here; accepted in [expression",
        ),
        ("[models]\nzzz = 1", "models.zzz: unknown key; accepted: dir, pull"),
        ('["a.b\\n"]', '"a.b\\n": unknown key; accepted: daemon, models, detector, tracking, '),
        (
            "[detector]\nbackend = 'mediapip'",
            'detector.backend: found "mediapip", accepted: auto, mediapipe, yunet, haar',
        ),
        ("[detector]\nmin_score = 1.5", "detector.min_score: found 1.5, accepted is at most 1"),
        ("[detector]\nmin_score = nan", "detector.min_score: found NaN, accepted is at most 1"),
        (
            "[tracking]\nmax_missing_s = 0",
            "tracking.max_missing_s: found 0, accepted is more than 0",
        ),
        (
            "[detector]\nlong_side_px = 3.5",
            "detector.long_side_px: found 3.5, accepted is a whole number",
        ),
        (
            "[expression]\nmax_wait_ms = '9'",
            'expression.max_wait_ms: found "9", accepted is a number',
        ),
        ("[models]\npull = 1", "models.pull: found 1, accepted is true or false"),
        ("[models]\ndir = 1979-05-27", "models.dir: found a date or time, which no key accepts"),
        ('models.dir = "a\\u0000b"', "models.dir: found 'a\\x00b', accepted is a path without NUL"),
        ("models = 3", "models: found 3, accepted is a table"),
        (
            "[overlay.colours]\nsad = 'blue'",
            'overlay.colours.sad: found "blue", accepted is a colour such as #D55E00',
        ),
        (
            "[daemon]\nallowed_hosts = 'nvr.lan'",
            'daemon.allowed_hosts: found "nvr.lan", accepted is a list of strings',
        ),
        (
            "[overlay.colours]\nhapy = '#112233'",
            "overlay.colours: 'hapy' is no expression; did you mean happy?",
        ),
        (
            "[overlay.colours]\nx = '#112233'",
            "overlay.colours: 'x' is no expression; accepted: angry, disgust, fear, ",
        ),
        (
            "expression.prior.hapy = 0.5",
            "expression.prior: 'hapy' is no expression; did you mean happy?",
        ),
        (
            "expression.prior.unknown = 0.5",
            "expression.prior: 'unknown' is no expression; accepted: angry, disgust, fear, ",
        ),
        (
            "expression.prior.min_face_px = 40",
            "expression.prior: 'min_face_px' is no expression; did you mean expression.min_face",
        ),
        (
            "overlay.colours.bars = false",
            "overlay.colours: 'bars' is no expression; did you mean overlay.bars?",
        ),
        (
            "expression.prior.neutral = 50",
            "expression.prior.neutral: found 50, accepted is at most 1",
        ),
        (
            "expression.prior = { neutral = 0.8, happy = 0.2 }",
            "expression.prior: shares sum to 1; accepted is less than 1",
        ),
        (
            "expression.prior = { angry = 0.7, sad = 0.2, happy = 0.1 }",
            "expression.prior: shares sum to 1; accepted is less than 1",
        ),
        (
            "expression.prior = { angry = 0.1, disgust = 0.1, fear = 0.1, happy = 0.1, sad = 0.1, "
            "surprise = 0.1, neutral = 0.1 }",
            "expression.prior: all shares sum to 0.7; accepted is 1",
        ),
        (
            "expression.prior = { angry = 0.1, disgust = 0.1, fear = 0.1, happy = 0.1, sad = 0.1, "
            "surprise = 0.1, neutral = 0.42 }",
            "expression.prior: all shares sum to 1.02; accepted is 1",
        ),
        (
            "[daemon]\nlisten = '9464'",
            "daemon.listen: found '9464', accepted is HOST:PORT, such as",
        ),
        ("[daemon]\nlisten = '0.0.0.0:1'", "daemon: listen = '0.0.0.0:1' is beyond loopback:"),
        ("[daemon]\nlisten = '127.lan:1'", "daemon: listen = '127.lan:1' is beyond loopback:"),
    ],
)
def test_a_fault_is_one_line(tmp_path: Path, text: str, line: str) -> None:
    found = faults(tmp_path, f"{text}\n{STREAM}")
    assert len(found) == 1
    assert found[0].startswith(line)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("url = 3", "stream[1].url: found 3, accepted is a string"),
        ("", "stream[1].url: missing, accepted is a string"),
        ("url = ''", "stream[1].url: is empty; accepted are a file, /dev/videoN or a URL"),
        ("url = 'srt://x'", "stream[1].url: scheme srt:// is unknown; accepted: rtsp, "),
        ("url = 'rtsp://'", "stream[1].url: names no host; accepted is rtsp://HOST/PATH"),
        ("url = 'rtsp://u:p@'", "stream[1].url: names no host; accepted is rtsp://HOST/PATH"),
        ("url = 'http://[::1/x'", "stream[1].url: names no host; accepted is http://HOST/PATH"),
        (
            "url = 'rtsp://u:geheim@10.0.0.7:99999/x'",
            "stream[1].url: names a port that cannot be; accepted are 1 to 65535",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'rtsp'\nurl = 'rtsp://u:p@'",
            "stream[1].sink[0].url: names no host; accepted is rtsp://HOST/PATH",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'rtmp'\nurl = 'rtmp://nas:0/live/x'",
            "stream[1].sink[0].url: names a port that cannot be; accepted are 1 to 65535",
        ),
        ("url = 'http:/cam'", "stream[1].url: names no host; accepted is http://HOST/PATH"),
        (
            "url = 'x'\nenabled = false",
            "stream[1].enabled: unknown key; a stream that is not to run is commented out",
        ),
        (
            "url = 'x'\nmax_fps = 5",
            "stream[1].max_fps: unknown key here; accepted in [[stream.sink]] of kind mjpeg",
        ),
        (
            "url = 'x'\ntimeout_s = 5",
            "stream[1].timeout_s: unknown key here; accepted in [[stream.sink]] of kind rtsp, "
            "rtmp, srt; or did you mean stall_timeout_s?",
        ),
        (
            "url = 'x'\nrecord = true",
            "stream[1].record: unknown key; accepted: name, url, ",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mjpeg'\nenabled = false",
            "stream[1].sink[0].enabled: unknown key; a sink that is not to run is commented out",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = 'x.mp4'\nfolder = '/srv'",
            "stream[1].sink[0].folder: unknown key; accepted: encoder, crf, ",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = 'x.mp4'\nquality = 9",
            "stream[1].sink[0].quality: unknown key here; accepted in [[stream.sink]] of kind",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'hls'\nprivacy = 'blur'",
            "stream[1].sink[0].privacy: unknown key here; accepted in [[stream]]",
        ),
        ("url = 'x'\nfsp = 3", "stream[1].fsp: unknown key; did you mean fps?"),
        (
            "url = 'x'\n[stream.sink]\nkind = 'mjpeg'",
            "stream[1].sink: found a table, accepted is a list of tables, "
            "each headed [[stream.sink]]",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp5'",
            'stream[1].sink[0].kind: found "mp5", accepted: mp4, mjpeg, hls, events, mqtt, rtsp',
        ),
        (
            "url = 'x'\n[[stream.sink]]\npath = 'x'",
            "stream[1].sink[0].kind: missing, accepted: mp4, mjpeg, hls, events, mqtt, rtsp, rtmp",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mjpeg'\n[[stream.sink]]\nkind = 'mp4'\npath = 3",
            "stream[1].sink[1].path: found 3, accepted is a string",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = 'x.mp4'\nmp4 = 3",
            "stream[1].sink[0].mp4: unknown key; accepted: encoder, crf, preset, kind, path",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = 'x.mp4'\ncrf = 99",
            "stream[1].sink[0].crf: found 99, accepted is at most 51",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mp4'\npath = 'x.mp4'\nsegment_s = inf",
            "stream[1].sink[0].segment_s: found Infinity, accepted is at most 1e+09",
        ),
        (
            "url = 'x'\n[[stream.sink]]\nkind = 'mjpeg'\n[[stream.sink]]\nkind = 'mjpeg'",
            "stream[1].sink: two sinks are of kind mjpeg, which has one address a stream",
        ),
        (
            "url = 'x'\naggregate_only = true\n[[stream.sink]]\nkind = 'events'\npath = 'x'",
            "stream[1]: aggregate_only = true writes no reading, and a sink of kind events",
        ),
        (
            "url = 'x'\nprivacy = 'pixels'",
            'stream[1].privacy: found "pixels", accepted: none, blur',
        ),
        ("url = 'x'\nrotate = 45", "stream[1].rotate: found 45, accepted: 0, 90, 180, 270"),
        ("url = 'x'\nrotate = -90", "stream[1].rotate: found -90, accepted: 0, 90, 180, 270"),
        ("url = 'x'\nrotate = '90'", 'stream[1].rotate: found "90", accepted: 0, 90, 180, 270'),
        ("url = 'x'\nmirror = 1", "stream[1].mirror: found 1, accepted is true or false"),
        (
            "url = 'rtsps://10.0.0.7/x'\ntransport = 'udp'",
            'stream[1]: transport = "udp" does not go with rtsps://; accepted is "tcp"',
        ),
    ],
)
def test_a_fault_in_a_stream_names_its_index_from_0(tmp_path: Path, text: str, line: str) -> None:
    found = faults(tmp_path, f"{STREAM}[[stream]]\nname = 'desk'\n{text}")
    assert len(found) == 1
    assert found[0].startswith(line)


def test_every_fault_is_listed_and_none_twice(tmp_path: Path) -> None:
    text = "[detector]\nbacknd = 1\nrange = 4\n[[stream]]\nname = 'Lobby'\nurl = '${PW}'\n"
    assert faults(tmp_path, text) == [
        "stream[0].url: the environment variable PW is not set",
        "detector.range: found 4, accepted: short, full",
        "detector.backnd: unknown key; did you mean backend?",
        'stream[0].name: found "Lobby", accepted are the characters a-z, 0-9, _ and -',
    ]


def test_two_streams_of_one_name(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, STREAM + STREAM)
    assert line == "stream[0].name and stream[1].name are both 'lobby'; each must have its own"


FILM = "kind = 'mp4'\npath = '{}/x.mp4'\n"
SEGMENTS = f"{FILM}segment_s = 60\n"
PUSH = "kind = 'rtsp'\nurl = 'rtsp://{}:8554/x'\n"


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        (FILM, "kind = 'events'\npath = '{}/x.mp4'\n", "path"),
        (SEGMENTS, SEGMENTS, "path"),
        (PUSH.format("u:geheim@nas"), PUSH.format("NAS"), "url"),
    ],
)
def test_two_sinks_that_write_to_one_place(tmp_path: Path, one: str, other: str, what: str) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    first = f"{STREAM}[[stream.sink]]\n{one.format(tmp_path)}"
    second = f"[[stream.sink]]\nkind = 'hls'\n[[stream.sink]]\n{other.format(tmp_path / 'link')}"
    place = "address" if what == "url" else f"file, '{tmp_path}/link/x.mp4'"
    assert faults(tmp_path, f"{first}[[stream]]\nname = 'b'\nurl = 'b'\n{second}") == [
        f"stream[0].sink[0].{what} and stream[1].sink[1].{what} are one {place}; "
        "each must have its own"
    ]


def test_sinks_that_may_share(tmp_path: Path) -> None:
    """Two recordings get numbers of their own, readings are whole lines."""
    for sink in (
        "kind = 'mp4'\npath = 'x.mp4'",
        "kind = 'events'\npath = 'x'",
        "kind = 'hls'",
    ):
        text = f"[[stream.sink]]\n{sink}\n"
        read(tmp_path, f"{STREAM}{text}[[stream]]\nname = 'b'\nurl = 'b'\n{text}")
    pushes = [f"[[stream.sink]]\nkind = 'rtsp'\nurl = 'rtsp://nas/{path}'\n" for path in "ab"]
    read(tmp_path, STREAM + "".join(pushes))
    films = [f"[[stream.sink]]\n{film.format(tmp_path)}" for film in (FILM, SEGMENTS)]
    read(tmp_path, STREAM + "".join(films))


def test_readings_of_faces_that_are_not_read(tmp_path: Path) -> None:
    events = "[[stream.sink]]\nkind = 'events'\npath = 'x.jsonl'\n"
    (line,) = faults(tmp_path, "expression.enabled = false\n" + STREAM + events)
    assert line.startswith("expression.enabled = false reads no face, and the sink of kind events ")
    assert "of stream 'lobby'" in line


def test_all_shares_of_a_prior_are_made_to_sum_to_1(tmp_path: Path) -> None:
    rest = "".join(f"{label} = 0.1, " for label in LABELS[:-1])
    prior = f"expression.prior = {{ {rest}{LABELS[-1]} = 0.405 }}\n"
    shares = read(tmp_path, prior + STREAM).settings.expression.prior
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares[LABELS[-1]] == pytest.approx(0.405 / 1.005)


def test_a_fault_is_told_whatever_secrets_are_empty_or_short(tmp_path: Path) -> None:
    text = "daemon.token = '${T}'\ndetector.backnd = 'haar'\n" + STREAM
    assert faults(tmp_path, text, {"T": ""}) == [
        "daemon.token: ${T} is empty",
        "detector.backnd: unknown key; did you mean backend?",
    ]
    stream = "[[stream]]\nname = '${N}'\nurl = 'x'\n"
    (line,) = faults(tmp_path, stream + stream, {"N": "a"})
    assert line == "stream[0].name and stream[1].name are both '${N}'; each must have its own"


def test_no_stream_at_all(tmp_path: Path) -> None:
    one = "accepted is at least one table headed [[stream]]"
    assert faults(tmp_path, "") == [f"stream: missing, {one}"]
    assert faults(tmp_path, "stream = []") == [f"stream: found an empty list, {one}"]


def test_broken_toml_names_line_and_column(tmp_path: Path) -> None:
    (line,) = faults(tmp_path, STREAM + "fps = \n")
    assert line == "line 4, column 7: not TOML: Invalid value"


@pytest.mark.parametrize("text", ["x = " + "[" * 4000, f"x = {'[' * 600}{']' * 600}\n{STREAM}"])
def test_absurd_nesting_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = faults(tmp_path, text)
    assert line


@pytest.mark.parametrize("number", ["9" * 5000, "0x" + "f" * 5000])
def test_a_number_that_cannot_be_written_in_digits_is_refused(tmp_path: Path, number: str) -> None:
    (line,) = faults(tmp_path, f"detector.every = {number}\n{STREAM}")
    assert line == "holds a whole number of thousands of digits, which no key accepts"


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "affectd.toml"
    path.write_bytes(b"\xef\xbb\xbf" + STREAM.replace("\n", "\r\n").encode())
    assert load(path, {}).settings.stream[0].name == "lobby"


def test_a_file_that_is_not_there_or_is_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file or directory; accepted"):
        load(tmp_path / "nowhere.toml", {})
    with pytest.raises(ConfigError, match="Is a directory; accepted is a TOML file"):
        load(tmp_path, {})
    latin = tmp_path / "latin.toml"
    latin.write_bytes(b"# ok\n# caf\xe9\n")
    with pytest.raises(ConfigError, match="line 2: not UTF-8"):
        load(latin, {})


def test_a_wrong_token_is_not_shown(tmp_path: Path) -> None:
    assert faults(tmp_path, "daemon.token = 12345\n" + STREAM) == [
        "daemon.token: found a whole number, accepted is a string"
    ]
    assert faults(tmp_path, "[[stream]]\nname = 'rtsp://u:hunter2@h'\nurl = 'x'") == [
        "stream[0].name: found a URL, accepted are the characters a-z, 0-9, _ and -"
    ]
    secret = "hunter2:9464"
    for line in faults(tmp_path, "daemon.listen = '${L}'\n" + STREAM, {"L": secret}):
        assert "hunter2" not in line
        assert "${L}" in line
