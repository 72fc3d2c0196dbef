"""Every fault that a camera, its server or the network is known to have, and how each is caused."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from daemon.errors import Reason
from tests.faults.camera import Camera
from tests.faults.proxy import Harm, Proxy
from tests.faults.rig import (
    BEFORE_S,
    FROZEN_S,
    LIMIT_S,
    STALL_S,
    Outcome,
    Rig,
    pts_of,
    recordings,
)
from tests.faults.web_camera import WebCamera

SIZE = "160x120"
LARGER = "240x176"
FPS = 10  # of camera_server.py, unless it is told otherwise
GOES_ON_S = 5.0  # how long a fault lasts that must not end the stream


class Scene:
    """The camera of one fault, what lies between, and the streams that look at it."""

    def __init__(self, folder: Path, fault: Fault, stack: ExitStack) -> None:
        self.folder = folder
        self.camera = stack.enter_context(Camera(*fault.options))
        self.proxy = stack.enter_context(Proxy(self.camera.port, seed=1))
        self.web = stack.enter_context(WebCamera())
        self.silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        self.rig: Rig

    def url(self, kind: str) -> str:
        """The address that the stream under test is given."""
        return {
            "camera": f"rtsp://viewer:secret@127.0.0.1:{self.camera.port}/cam",
            "proxy": f"rtsp://127.0.0.1:{self.proxy.port}/cam",
            "web": f"http://127.0.0.1:{self.web.port}/live",
            "page": f"http://127.0.0.1:{self.web.port}/page",
            "silent": f"rtsp://127.0.0.1:{self.silent.getsockname()[1]}/cam",
            "tls": f"rtsps://127.0.0.1:{self.camera.port}/cam",
            "nowhere": "rtsp://camera.invalid/cam",
        }[kind]


Step = Callable[[Scene], None]


@dataclass(frozen=True)
class Fault:
    """`cause` brings it about and `heal` ends it; without `heal` it does not end. It is there
    `at_start`, or comes while the stream is live. `reasons` are those that may be counted first;
    none means that the stream goes on, which `check` looks into. It is found within `within_s`."""

    name: str
    caused: str
    cause: Step
    heal: Step | None = None
    reasons: tuple[Reason, ...] = ()
    within_s: float = 2.0
    at_start: bool = False
    through: str = "camera"
    options: tuple[str, ...] = ("--size", SIZE)
    check: Callable[[Scene, Outcome], None] = lambda scene, outcome: None


def play(fault: Fault, folder: Path, steady: Camera) -> Outcome:
    """Cause a fault for real, end it, and say what affectd made of it."""
    with ExitStack() as stack:
        scene = Scene(folder, fault, stack)
        if fault.at_start:
            fault.cause(scene)
        elif fault.through in ("camera", "proxy"):
            scene.camera.start()
        address = f"rtsp://127.0.0.1:{steady.port}/cam"
        rig = scene.rig = Rig(folder, steady=address, cam=scene.url(fault.through))
        outcome = Outcome(fault.name)
        began_s = time.monotonic()
        stack.enter_context(rig)
        if fault.at_start:
            _find(fault, scene, outcome, began_s)
        rig.until(lambda: rig.frames("steady") > 5, "the other stream")
        if not fault.at_start:
            rig.until(lambda: rig.frames("cam") > 5, "pictures")
        outcome.other_fps_before = rig.rate("steady", BEFORE_S)
        others, others_s = rig.frames("steady"), time.monotonic()
        if not fault.at_start:
            began_s = time.monotonic()
            fault.cause(scene)
        if not fault.reasons:
            _go_on(scene, outcome)
        else:
            if not fault.at_start:
                _find(fault, scene, outcome, began_s)
            _recover(fault, scene, outcome)
        lasted_s = time.monotonic() - others_s
        if lasted_s < BEFORE_S:
            rig.rate("steady", BEFORE_S - lasted_s)
        lasted_s = time.monotonic() - others_s
        outcome.other_fps_during = (rig.frames("steady") - others) / lasted_s
        outcome.counted = rig.reconnects()
        outcome.damaged = int(
            rig.value(
                "affectd_frames_dropped_total", stream="cam", stage="decode", reason="damaged"
            )
        )
        assert rig.reconnects("steady") == {}
        assert rig.reported("steady")["state"] == "live"
    fault.check(scene, outcome)
    if fault.heal is not None or not fault.reasons:
        assert recordings(folder), "nothing was recorded"
    return outcome


def _find(fault: Fault, scene: Scene, outcome: Outcome, began_s: float) -> None:
    """Wait until the stream is shown as failed, and for the right reason."""
    rig = scene.rig

    def is_found() -> bool:
        status = rig.status()
        return status.state != "live" and status.last_error is not None

    rig.until(is_found, f"{fault.name} to be found")
    outcome.found_s = time.monotonic() - began_s
    outcome.last_error = rig.status().last_error
    shown = rig.reported()
    assert shown["state"] in ("down", "stalled"), shown
    assert shown["reason"] in fault.reasons, shown
    assert shown["last_error"], shown
    assert "secret" not in str(shown["last_error"]), shown


def _recover(fault: Fault, scene: Scene, outcome: Outcome) -> None:
    """End the fault and wait for pictures; of one that does not end, for the next try."""
    rig = scene.rig
    if fault.heal is None:
        rig.until(lambda: bool(rig.reconnects()), "the next try")
        return
    before = rig.frames("cam")
    fault.heal(scene)
    healed_s = time.monotonic()
    rig.until(lambda: rig.frames("cam") > before and rig.status().state == "live", "recovery")
    outcome.recovered_s = time.monotonic() - healed_s
    rig.until(lambda: rig.frames("cam") > before + FPS, "more pictures")
    assert rig.reported()["state"] == "live"


def _go_on(scene: Scene, outcome: Outcome) -> None:
    """The stream has to go on for a while: how long was it without a picture?"""
    rig = scene.rig
    end_s = time.monotonic() + GOES_ON_S
    outcome.quiet_s = 0.0
    while time.monotonic() < end_s:
        before = rig.frames("cam")
        waited_s = rig.until(lambda before=before: rig.frames("cam") > before, "a picture")  # type: ignore[misc]
        outcome.quiet_s = max(outcome.quiet_s, waited_s)
    assert rig.reconnects() == {}
    assert rig.status().state == "live"


def _harm(**harm: float) -> Step:
    def cause(scene: Scene) -> None:
        scene.proxy.harm = Harm(**harm)  # type: ignore[arg-type]

    return cause


def _well(scene: Scene) -> None:
    scene.proxy.harm = Harm()


def _tell(order: str) -> Step:
    return lambda scene: scene.camera.tell(order)


def _restart(*options: str) -> Step:
    return lambda scene: scene.camera.restart(*options)


def _video(on: bool) -> Step:
    def cause(scene: Scene) -> None:
        scene.web.video_on = on

    return cause


def _noisy(on: bool) -> Step:
    def cause(scene: Scene) -> None:
        scene.web.noisy = on

    return cause


def _broken(on: bool) -> Step:
    def cause(scene: Scene) -> None:
        (scene.rig.broken.set if on else scene.rig.broken.clear)()

    return cause


def _nothing(scene: Scene) -> None:
    """It is over already."""


def _both_sizes(scene: Scene, outcome: Outcome) -> None:
    sizes = {(width, height) for width, height, _ in recordings(scene.folder)}
    assert sizes == {(160, 120), (240, 176)}, sizes


def _time_goes_on(scene: Scene, outcome: Outcome) -> None:
    for path in scene.folder.glob("cam*.mp4"):
        times_s = pts_of(path)
        assert max(after - before for before, after in pairwise(times_s)) < LIMIT_S
        assert times_s == sorted(set(times_s))


def _some_damage(scene: Scene, outcome: Outcome) -> None:
    assert sum(scene.proxy.done[what] for what in ("flipped", "dropped", "delayed")) > 0


OFTEN = ("--size", SIZE, "--fps", "25")

FAULTS = (
    Fault(
        "the server is killed",
        "SIGKILL to the RTSP server; started again",
        cause=lambda scene: scene.camera.kill(),
        heal=lambda scene: scene.camera.start(),
        reasons=(Reason.END_OF_STREAM, Reason.CONNECT_REFUSED),
    ),
    Fault(
        "the server restarts",
        "SIGKILL to the RTSP server, which is started again at once",
        cause=_restart("--size", SIZE),
        heal=_nothing,
        reasons=(Reason.END_OF_STREAM, Reason.CONNECT_REFUSED),
    ),
    Fault(
        "the server comes back with another codec and size",
        "the same, as Motion JPEG of 240x176",
        cause=_restart("--size", LARGER, "--codec", "jpeg"),
        heal=_nothing,
        reasons=(Reason.END_OF_STREAM, Reason.CONNECT_REFUSED),
        check=_both_sizes,
    ),
    Fault(
        "the server hangs",
        "SIGSTOP to the RTSP server; SIGCONT",
        cause=lambda scene: scene.camera.halt(),
        heal=lambda scene: scene.camera.resume(),
        reasons=(Reason.STALLED, Reason.TIMEOUT),
        within_s=STALL_S,
    ),
    Fault(
        "the camera is off at the start",
        "nobody listens at its port; started later",
        cause=_nothing,
        heal=lambda scene: scene.camera.start(),
        reasons=(Reason.CONNECT_REFUSED,),
        at_start=True,
    ),
    Fault(
        "the camera is off behind a forwarded port",
        "a proxy accepts and hangs up, since nobody listens behind it; started later",
        cause=_nothing,
        heal=lambda scene: scene.camera.start(),
        reasons=(Reason.CONNECT_REFUSED,),
        at_start=True,
        through="proxy",
    ),
    Fault(
        "the password is wrong",
        "an RTSP server that wants another one; restarted without",
        cause=lambda scene: scene.camera.start(),
        heal=_restart("--size", SIZE),
        reasons=(Reason.AUTH_FAILED,),
        at_start=True,
        options=("--user", "viewer", "--password", "another"),
    ),
    Fault(
        "404",
        "an RTSP server without that path; restarted with it",
        cause=lambda scene: scene.camera.start(),
        heal=_restart("--size", SIZE),
        reasons=(Reason.NOT_FOUND,),
        at_start=True,
        options=("--path", "/attic"),
    ),
    Fault(
        "there is sound alone",
        "an RTSP server without a video track; restarted with one",
        cause=lambda scene: scene.camera.start(),
        heal=_restart("--size", SIZE),
        reasons=(Reason.NO_VIDEO,),
        at_start=True,
        options=("--sound", "only"),
    ),
    Fault(
        "it is no video",
        "an HTTP server that answers with a page",
        cause=_nothing,
        reasons=(Reason.UNSUPPORTED,),
        at_start=True,
        through="page",
    ),
    Fault(
        "the server never answers",
        "a port that is accepted and read by nobody",
        cause=_nothing,
        reasons=(Reason.TIMEOUT,),
        within_s=STALL_S,
        at_start=True,
        through="silent",
    ),
    Fault(
        "no TLS is spoken",
        "rtsps:// to an RTSP server without TLS",
        cause=lambda scene: scene.camera.start(),
        reasons=(Reason.TLS,),
        at_start=True,
        through="tls",
    ),
    Fault(
        "the host name is unknown",
        "a name under .invalid",
        cause=_nothing,
        reasons=(Reason.NOT_FOUND,),
        within_s=15.0,
        at_start=True,
        through="nowhere",
    ),
    Fault(
        "the server ends the stream",
        "the end of the stream, as GStreamer says it; restarted",
        cause=_tell("end now"),
        heal=_restart("--size", SIZE),
        reasons=(Reason.END_OF_STREAM, Reason.DECODE_ERROR, Reason.CONNECT_REFUSED),
    ),
    Fault(
        "the connection closes in mid-stream",
        "the proxy shuts both sides down",
        cause=lambda scene: scene.proxy.cut(),
        heal=_nothing,
        reasons=(Reason.END_OF_STREAM,),
        through="proxy",
    ),
    Fault(
        "bytes stop",
        "the proxy holds everything back; lets it through again",
        cause=_harm(hold=True),
        heal=_well,
        reasons=(Reason.STALLED, Reason.TIMEOUT),
        within_s=STALL_S,
        through="proxy",
    ),
    Fault(
        "the video stops while sound goes on (RTSP)",
        "a closed valve before the encoder; opened",
        cause=_tell("video off"),
        heal=_tell("video on"),
        reasons=(Reason.STALLED, Reason.TIMEOUT, Reason.NO_VIDEO),
        within_s=STALL_S,
        options=("--size", SIZE, "--sound", "too"),
    ),
    Fault(
        "the video stops while sound goes on (HTTP)",
        "an MPEG transport stream that carries on with sound alone; with both again",
        cause=_video(False),
        heal=_video(True),
        reasons=(Reason.STALLED, Reason.TIMEOUT, Reason.NO_VIDEO, Reason.UNSUPPORTED),
        within_s=STALL_S,
        through="web",
    ),
    Fault(
        "the picture freezes",
        "the same picture is encoded over and over, with new timestamps; moves again",
        cause=_tell("freeze on"),
        heal=_tell("freeze off"),
        reasons=(Reason.FROZEN,),
        within_s=FROZEN_S,
    ),
    Fault(
        "timestamps stand still",
        "the proxy gives all packets the same time; leaves them alone",
        cause=_harm(stand=True),
        heal=_well,
        reasons=(Reason.STALLED,),
        within_s=STALL_S,
        through="proxy",
    ),
    Fault(
        "timestamps leap an hour forward",
        "the proxy adds 3600 s",
        cause=_harm(leap_s=3600.0),
        through="proxy",
        check=_time_goes_on,
    ),
    Fault(
        "timestamps leap an hour back",
        "the proxy takes 3600 s away",
        cause=_harm(leap_s=-3600.0),
        through="proxy",
        check=_time_goes_on,
    ),
    Fault(
        "the resolution changes in mid-stream",
        "160x120 becomes 240x176 without a break",
        cause=_tell(f"size {LARGER}"),
        check=_both_sizes,
    ),
    Fault(
        "some packets are damaged",
        "the proxy flips bytes in 3 % of the packets, drops 3 %, delays 3 % by 0.2 s",
        cause=_harm(flip=0.03, drop=0.03, delay=0.03, delay_s=0.2),
        through="proxy",
        options=OFTEN,
        check=_some_damage,
    ),
    Fault(
        "every packet is damaged (RTSP)",
        "the proxy fills all packets with noise; leaves them alone",
        cause=_harm(flip=1.0, noise=1.0),
        heal=_well,
        # libav makes no picture of such packets and raises no error either.
        reasons=(Reason.DECODE_ERROR, Reason.STALLED),
        within_s=STALL_S,
        through="proxy",
        options=OFTEN,
    ),
    Fault(
        "every packet is damaged (HTTP)",
        "an MPEG transport stream whose packets are marked as damaged; as sound",
        cause=_noisy(True),
        heal=_noisy(False),
        reasons=(Reason.DECODE_ERROR, Reason.STALLED),
        within_s=STALL_S,
        through="web",
    ),
    Fault(
        "an exception in one stream",
        "a detector that raises on every picture; works again",
        cause=_broken(True),
        heal=_broken(False),
        reasons=(Reason.INTERNAL,),
    ),
)
