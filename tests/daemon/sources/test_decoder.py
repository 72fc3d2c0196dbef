"""Decoding on a graphics card, and what happens where there is none."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest
from av.codec.hwaccel import hwdevices_available

from daemon.errors import Reason, SourceError
from daemon.frame import plane
from daemon.probes import ProbeCache
from daemon.sources import decoder
from daemon.sources.video import VideoSource
from tests.daemon.sources.videos import frames_of, open_video
from tests.inside import inside
from tests.media import write_clip

ABSENT = [name for name in decoder.DEVICES if not decoder.works(name)]
needs_an_absent_one = pytest.mark.skipif(not ABSENT, reason="every decoder works here")


@pytest.mark.parametrize("name", ["auto", *decoder.DEVICES])
def test_a_device_gives_the_pictures_that_the_processor_gives(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """Where there is none, "auto" is the processor and says nothing of it."""
    if name in ABSENT:
        pytest.skip(f"{name} does not work here")
    clip = write_clip(tmp_path / "x.mp4", frames=12, width=320, height=240)

    def lumas(decoder: str) -> list[int]:
        return [int(plane(frame.image, 0).mean()) for frame in frames_of(clip, decoder=decoder)]

    expected = lumas("software")
    assert len(expected) == 12
    assert lumas(name) == pytest.approx(expected, abs=1)
    assert caplog.messages == []


def test_a_codec_that_a_named_decoder_does_not_know_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The device itself is not asked of such a codec, so none need be here."""
    clip = write_clip(tmp_path / "x.mkv", codec="ffv1", frames=3)
    monkeypatch.setattr(decoder, "works", lambda device: True)
    for name in ("cuda", "auto"):
        assert len(frames_of(clip, decoder=name)) == 3
    assert caplog.messages == ["stream s: cuda does not decode ffv1; the processor does instead"]


@needs_an_absent_one
def test_a_named_decoder_that_does_not_work_is_an_error_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who would rather have the processor says "auto"."""
    path = tmp_path / "affectd.toml"
    text = '[[stream]]\nname = "a"\nurl = "rtsp://cam/x"\n[[stream]]\nname = "b"\n'
    path.write_text(f'{text}url = "rtsp://cam/y"\ndecoder = "{ABSENT[0]}"\n')
    done = inside(capsys, "check", path)
    accepted = ", ".join(["software", "auto", *decoder.working()])
    assert done.code == 2
    assert done.err == [
        f"affectd: {path}: stream[1].decoder: {ABSENT[0]} does not work here; accepted: {accepted}"
    ]
    path.write_text(f'{text}url = "rtsp://cam/y"\ndecoder = "auto"\n')
    assert inside(capsys, "check", path).code == 0


def test_a_camera_that_is_off_puts_no_graphics_card_in_doubt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A probe at each retry would find the card full one day."""
    tried: list[str] = []

    def passes(device: str) -> bool:
        tried.append(device)
        return True

    monkeypatch.setattr(decoder, "_probes", ProbeCache(passes))
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"rtsp://127.0.0.1:{unheard.getsockname()[1]}/x"
        for _ in range(2):
            with pytest.raises(SourceError) as caught:
                VideoSource("s", url, live=True, stop=threading.Event(), decoder="cuda")
            assert caught.value.reason is Reason.CONNECT_REFUSED
    assert tried == ["cuda"]


@pytest.mark.skipif("cuda" not in ABSENT, reason="a graphics card is here that cannot be lost")
@pytest.mark.skipif("cuda" not in hwdevices_available(), reason="this PyAV has no CUDA")
def test_a_graphics_card_that_goes_away_leaves_it_to_the_processor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The probe at the start is a fake, since no card here can be taken away: it says that CUDA
    works. 1. Opening fails, which puts the probe in doubt. 2. The next time the processor decodes.
    """
    clip = write_clip(tmp_path / "x.mp4", frames=3)
    tried, probe = [True], decoder._passes_probe
    answers = ProbeCache(lambda device: tried.pop() if tried else probe(device))
    monkeypatch.setattr(decoder, "_probes", answers)
    with pytest.raises(SourceError):
        open_video(clip, decoder="cuda")
    assert len(frames_of(clip, decoder="cuda")) == 3
    assert "decoder cuda works no more; the processor decodes instead" in caplog.text
