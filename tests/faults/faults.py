"""Every fault that a camera, its server or the network is known to have, and how each is caused."""

from __future__ import annotations

from itertools import pairwise

from daemon.errors import Reason
from tests.faults.play import SIZE, Fault, Scene, Step
from tests.faults.proxy import Harm
from tests.faults.rig import FROZEN_S, LIMIT_S, STALL_S, Outcome, pts_of, recordings

LARGER = "240x176"


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
        within_s=60.0,  # By chance it makes a picture of some, and all is waited for again.
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
