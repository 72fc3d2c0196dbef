"""Which encoder a sink gets, and what a configuration may ask of sinks on this machine."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import av
import pytest

from daemon.config.file import load
from daemon.config.sink_settings import ENCODERS, EncodedSinkSettings
from daemon.errors import ConfigError
from daemon.service import preflight
from daemon.sinks import push
from daemon.sinks.encode import encoder
from daemon.sinks.encode.encoder import Encoder, working, works
from tests.daemon.outputs import picture
from tests.inside import inside

ABSENT = [name for name in ENCODERS if not works(name)]
needs_an_absent_one = pytest.mark.skipif(not ABSENT, reason="every encoder works on this machine")


def config(folder: Path, sinks: str) -> Path:
    path = folder / "affectd.toml"
    path.write_text(f'[[stream]]\nname = "x"\nurl = "demo://x"\n{sinks}', encoding="utf-8")
    return path


def test_software_always_works_and_is_asked_last() -> None:
    assert works("libx264")
    assert works("libx264", 64, 48)
    assert working()[-1] == "libx264"


@pytest.mark.parametrize("name", working())
def test_what_works_gives_pictures_back_and_keyframes_where_asked(name: str) -> None:
    shown = partial(picture, width=320, height=240)
    made = Encoder(shown(0), EncodedSinkSettings(encoder=name, crf=10), live=True)  # type: ignore[arg-type]
    packets = [made.encode(shown(n), n * 3000, keyframe=n in (0, 7)) for n in range(12)]
    flat = [packet for some in (*packets, made.finish()) for packet in some]
    assert made.name == name
    assert [packet.pts for packet in flat] == [n * 3000 for n in range(12)]
    assert [n for n, packet in enumerate(flat) if packet.is_keyframe] == [0, 7]
    decoder = av.CodecContext.create("h264", "r")
    decoder.extradata = made.header
    images = [image for packet in flat for image in decoder.decode(packet)]
    images += decoder.decode(None)
    assert [(image.width, image.height) for image in images] == [(320, 240)] * 12


def test_auto_takes_the_first_that_works() -> None:
    made = Encoder(picture(0, width=320, height=240), EncodedSinkSettings(), live=True)
    assert made.name == next(name for name in ENCODERS if works(name, 320, 240))


def test_what_a_muxer_needs_outlives_the_codec(tmp_path: Path) -> None:
    """A muxer that comes after the last picture, as that of a sink which was slow."""
    made = Encoder(picture(0), EncodedSinkSettings(crf=10), live=True)
    packets = [
        packet for n in range(5) for packet in made.encode(picture(n), n * 3600, keyframe=n == 0)
    ]
    packets += made.finish()
    assert made.finish() == []
    with av.open(str(tmp_path / "x.mp4"), "w") as container:
        stream = container.add_stream_from_template(made.template)
        for packet in packets:
            packet.stream = stream
            container.mux(packet)
    with av.open(str(tmp_path / "x.mp4")) as container:
        frames = list(container.decode(video=0))
    assert [frame.pts for frame in frames] == [n * 3600 for n in range(5)]
    assert frames[0].colorspace == picture().colorspace


@pytest.fixture
def uncollected() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def open_codecs() -> int:
    codecs = [one for one in gc.get_objects() if issubclass(type(one), av.VideoCodecContext)]
    return sum(one.is_open for one in codecs)


@pytest.mark.usefixtures("uncollected")
def test_a_codec_is_free_as_soon_as_it_is_closed() -> None:
    """A graphics card encodes only so many streams at once, and the next one comes right after."""
    before = open_codecs()
    made = Encoder(picture(0), EncodedSinkSettings(), live=True)
    made.encode(picture(0), 0, keyframe=True)
    assert open_codecs() == before + 1
    made.finish()
    assert open_codecs() == before
    assert encoder._passes_probe("libx264", 64, 48)
    assert open_codecs() == before


@needs_an_absent_one
def test_a_named_encoder_that_does_not_work_is_an_error_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = config(
        tmp_path,
        '[[stream.sink]]\nkind = "mjpeg"\n[[stream.sink]]\nkind = "mp4"\npath = "x.mp4"\n'
        f'encoder = "{ABSENT[0]}"\n',
    )
    with pytest.raises(ConfigError) as caught:
        preflight.check(path, load(path, {}).settings)
    assert str(caught.value) == (
        f"{path}: stream[0].sink[1].encoder: {ABSENT[0]} does not work here, in sink mp4; "
        f"accepted: auto, {', '.join(working())}"
    )
    done = inside(capsys, "check", path)
    assert done.code == 2
    assert done.err == [f"affectd: {caught.value}"]


@pytest.mark.skipif(push.has_srt(), reason="this PyAV was built with SRT")
def test_srt_is_refused_where_libav_lacks_it(tmp_path: Path) -> None:
    path = config(tmp_path, '[[stream.sink]]\nkind = "srt"\nurl = "srt://127.0.0.1:8890"\n')
    with pytest.raises(ConfigError, match=r"stream\[0\]\.sink\[0\]\.kind: found srt, which this"):
        preflight.check(path, load(path, {}).settings)


@pytest.mark.parametrize(
    ("sink", "said"),
    [
        ('kind = "rtsp"\nurl = "http://x/y"', "rtsp:// or rtsps://"),
        ('kind = "rtmp"\nurl = "rtsp://x/y"', "rtmp:// or rtmps://"),
        ('kind = "rtsp"\nurl = "rtsps://x/y"\ntransport = "udp"', 'accepted is "tcp"'),
        ('kind = "rtsp"\nurl = "rtsp://x/y"\nencoder = "x265"', 'found "x265", accepted: auto'),
    ],
)
def test_a_push_that_makes_no_sense(tmp_path: Path, sink: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(config(tmp_path, f"[[stream.sink]]\n{sink}\n"), {})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
