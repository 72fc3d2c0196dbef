"""One fault, played: caused for real, found, ended and recovered from."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from daemon.errors import Reason
from tests.faults.camera import Camera
from tests.faults.proxy import Proxy
from tests.faults.rig import BEFORE_S, LIMIT_S, PATIENT_S, STALL_S, Outcome, Rig, recordings
from tests.faults.web_camera import WebCamera

SIZE = "160x120"
FPS = 10  # of camera_server.py, unless it is told otherwise
LEAST_SHARE = 0.5  # of its frame rate that another stream keeps while one fails
BY_TIME = {Reason.STALLED, Reason.TIMEOUT}  # which a stream's own time-out finds
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

    @property
    def stall_s(self) -> float:
        """The time-out of the stream: short where it is what finds the fault."""
        return STALL_S if BY_TIME & set(self.reasons) else PATIENT_S


def play(fault: Fault, folder: Path, steady: Camera, rate_s: float = BEFORE_S) -> Outcome:
    """Cause a fault for real, end it, and say what affectd made of it. The other stream's rate is
    measured for `rate_s` before the fault, and for at least as long from it on."""
    with ExitStack() as stack:
        scene = Scene(folder, fault, stack)
        if fault.at_start:
            fault.cause(scene)
        elif fault.through in ("camera", "proxy"):
            scene.camera.start()
        address = f"rtsp://127.0.0.1:{steady.port}/cam"
        rig = scene.rig = Rig(
            folder, steady=address, cam=scene.url(fault.through), stall_s=fault.stall_s
        )
        outcome = Outcome(fault.name)
        began_s = time.monotonic()
        stack.enter_context(rig)
        if fault.at_start:
            _find(fault, scene, outcome, began_s)
        rig.until(lambda: rig.frames("steady") > 5, "the other stream")
        if not fault.at_start:
            rig.until(lambda: rig.frames("cam") > 5, "pictures")
        rig.until(lambda: _rate_of_other(rig, outcome, rate_s) > 0.0, "the other stream's rate")
        others, others_s = rig.frames("steady"), time.monotonic()
        if not fault.at_start:
            fault_before_s = rig.status().last_error_s
            began_s = time.monotonic()
            fault.cause(scene)
        if not fault.reasons:
            _go_on(scene, outcome)
            _others_go_on(scene, outcome, others, others_s)
        else:
            if not fault.at_start:
                _find(fault, scene, outcome, began_s, fault_before_s)
            _others_go_on(scene, outcome, others, others_s)
            _recover(fault, scene, outcome)
        lasted_s = time.monotonic() - others_s
        if lasted_s < rate_s:
            rig.rate("steady", rate_s - lasted_s)
        lasted_s = time.monotonic() - others_s
        outcome.other_fps_during = (rig.frames("steady") - others) / lasted_s
        outcome.counted = rig.reconnects()
        outcome.damaged = int(
            rig.value(
                "affectd_frames_dropped_total", stream="cam", stage="decode", reason="damaged"
            )
        )
        assert rig.reconnects("steady") == {}
        rig.until(lambda: rig.reported("steady")["state"] == "live", "the other stream")
    fault.check(scene, outcome)
    if fault.heal is not None or not fault.reasons:
        assert recordings(folder), "nothing was recorded"
    return outcome


def _rate_of_other(rig: Rig, outcome: Outcome, rate_s: float) -> float:
    outcome.other_fps_before = rig.rate("steady", rate_s)
    return outcome.other_fps_before


def _others_go_on(scene: Scene, outcome: Outcome, frames: int, since_s: float) -> None:
    """While the fault lasts the other stream has its frame rate, from `since_s` on, when it had
    given so many; or some time later, where a busy machine had no time for it."""
    rig, end_s = scene.rig, time.monotonic() + LIMIT_S
    # What was held up before comes as a burst.
    usual_fps = min(FPS, outcome.other_fps_before)
    share = (rig.frames("steady") - frames) / (time.monotonic() - since_s) / usual_fps
    while share <= LEAST_SHARE:
        assert time.monotonic() < end_s, f"the other stream has {share:.0%} of its frame rate"
        share = rig.rate("steady", 1.0) / usual_fps


def _find(
    fault: Fault, scene: Scene, outcome: Outcome, began_s: float, before_s: float | None = None
) -> None:
    """Wait until the stream is shown as failed, and for the right reason. `before_s` is when an
    earlier fault was. One that heals by itself may be over when a busy machine looks."""
    rig = scene.rig
    rig.until(lambda: rig.status().last_error_s != before_s, f"{fault.name} to be found")
    outcome.found_s = time.monotonic() - began_s
    outcome.last_error = rig.status().last_error
    shown = rig.reported()
    if shown["state"] != "live":
        assert shown["state"] in ("down", "stalled"), shown
        assert shown["reason"] in fault.reasons, shown
    assert shown["last_error"], shown
    assert "secret" not in str(rig.board.streams()), rig.board.streams()


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
    rig.until(lambda: rig.reported()["state"] == "live", "it to be live")


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
    rig.until(lambda: rig.status().state == "live", "it to be live")
