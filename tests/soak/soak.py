"""Hours of bad weather for one affectd: cameras, faults from a seed, and what came of it all."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from pathlib import Path
from threading import Event

import av

from daemon.sources.demo.source import DemoSource
from daemon.sources.video import VideoSource
from tests.affectd import Daemon
from tests.demo import expected
from tests.faults.camera import Camera
from tests.faults.proxy import Proxy
from tests.rtsp import RtspServer
from tests.soak.harm import FROZEN_S, KINDS, SETTLE_S, SIZES, STALL_S, Injection, Kind, Patient
from tests.soak.viewer import HlsViewer, MjpegViewer, Seen
from tests.soak.watch import Sample, View, look, sample

TICK_S = 0.5
SAMPLE_S = 1.0
END_S = 120.0  # for all streams to be live again when no more faults come
SEGMENT_S = 20.0
_SCENE = "demo://soak?faces=1&size=320x240&fps=1&seed=3"

HEAD = """
[models]
pull = false
[detector]
long_side_px = 320
[expression]
tta = "none"
"""
STREAM = """
[[stream]]
name = "{name}"
url = "rtsp://127.0.0.1:{port}/cam"
stall_timeout_s = {stall_s}
frozen_timeout_s = {frozen_s}
[[stream.sink]]
kind = "mp4"
path = "{name}.mp4"
segment_s = {segment_s}
[[stream.sink]]
kind = "events"
path = "{name}.jsonl"
"""
# Each of these streams has one sink more, of which somebody makes use all the time.
HLS, MJPEG, PUSHED = "cam0", "cam1", "cam2"
WATCHED = """
[[stream.sink]]
kind = "{kind}"
"""
PUSH = """
[[stream.sink]]
kind = "rtsp"
url = "{url}"
"""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a soak does. `gap_s` is the mean time between two faults of one stream; a stream
    stalls after `stall_s`."""

    seconds: float
    seed: int = 1
    streams: int = 8
    fps: int = 4
    gap_s: float = 45.0
    kinds: tuple[str, ...] = tuple(kind.name for kind in KINDS)
    stall_s: float = STALL_S


@dataclass
class Course:
    """What was seen. `ages_s` are those of all readings; `recordings` the pictures in each file;
    `sink_failures` by stream and sink; `left_behind` the log's lines on what did not stop."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    injections: list[Injection] = field(default_factory=list)
    reconnects: dict[str, dict[str, int]] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    sink_failures: dict[str, int] = field(default_factory=dict)
    viewers: list[Seen] = field(default_factory=list)
    ages_s: list[float] = field(default_factory=list)
    recordings: dict[str, int] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    exit_code: int | None = None
    exit_s: float = 0.0
    left_behind: list[str] = field(default_factory=list)

    def age_shares_s(self) -> dict[str, float]:
        """The age that half of the readings, 99 of 100, 999 of 1000 and all did not exceed."""
        ages_s = sorted(self.ages_s) or [0.0]
        shares = {"0.5": 0.5, "0.99": 0.99, "0.999": 0.999, "1": 1.0}
        return {name: ages_s[int(share * (len(ages_s) - 1))] for name, share in shares.items()}

    def as_dict(self) -> dict[str, object]:
        return {
            "plan": asdict(self.plan),
            "injections": [injection.as_dict() for injection in self.injections],
            "reconnects": self.reconnects,
            "frames": self.frames,
            "sink_failures": self.sink_failures,
            "viewers": [asdict(seen) for seen in self.viewers],
            "readings": len(self.ages_s),
            "reading_age_s": self.age_shares_s(),
            "recordings": len(self.recordings),
            "pictures_recorded": sum(self.recordings.values()),
            "broken_recordings": self.broken,
            "exit_code": self.exit_code,
            "exit_s": self.exit_s,
            "left_behind": self.left_behind,
            "samples": [asdict(one) for one in self.samples],
        }


def soak(plan: Plan, folder: Path) -> Course:
    """Run affectd in `folder` by `plan`, end it, and look at all that it left there."""
    course = Course(plan)
    names = [f"cam{number}" for number in range(plan.streams)]
    face = draw_face(folder / "face.png")
    with ExitStack() as stack:
        patients = []
        for number, name in enumerate(names):
            options = ("--size", SIZES[0], "--fps", str(plan.fps), "--face", str(face))
            camera = stack.enter_context(Camera(*options))
            camera.start()
            proxy = stack.enter_context(Proxy(camera.port, seed=1000 * plan.seed + number))
            patients.append(Patient(name, camera, proxy))
        more = {HLS: WATCHED.format(kind="hls"), MJPEG: WATCHED.format(kind="mjpeg")}
        if PUSHED in names:
            server = stack.enter_context(RtspServer("--record"))
            more[PUSHED] = PUSH.format(url=server.url("/in"))
        text = HEAD + "".join(
            STREAM.format(
                name=patient.name,
                port=patient.proxy.port,
                stall_s=plan.stall_s,
                frozen_s=FROZEN_S,
                segment_s=SEGMENT_S,
            )
            + more.get(patient.name, "")
            for patient in patients
        )
        daemon = stack.enter_context(Daemon(folder, text))
        daemon.wait_for(lambda: _all_live(look(daemon), names), "all streams to be live")
        with (
            HlsViewer(f"{daemon.url}/streams/{HLS}/hls", HLS) as hls,
            MjpegViewer(f"{daemon.url}/streams/{MJPEG}/mjpeg", MJPEG) as mjpeg,
        ):
            _Weather(daemon, patients, course).run()
        course.viewers = [hls.seen, mjpeg.seen]
        course.exit_code, course.exit_s = daemon.end()
        course.left_behind = [one for one in daemon.log.splitlines() if "did not stop" in one]
    for name in names:
        lines = (folder / f"{name}.jsonl").read_text().splitlines()
        course.ages_s += [json.loads(line)["age_ms"] / 1000 for line in lines]
        for path in sorted(folder.glob(f"{name}*.mp4")):
            _play(path, course)
    return course


class _Weather:
    """The loop of a soak: causes faults, follows each to its end, and takes samples."""

    def __init__(self, daemon: Daemon, patients: Sequence[Patient], course: Course) -> None:
        self._daemon = daemon
        self._patients = {patient.name: patient for patient in patients}
        self._course = course
        self._random = random.Random(course.plan.seed)
        self._kinds = [kind for kind in KINDS if kind.name in course.plan.kinds]
        self._began_s = time.monotonic()
        self._next_s = {name: self._gap_s() for name in self._patients}
        self._running: dict[str, tuple[Injection, View, float | None]] = {}

    def run(self) -> None:
        plan = self._course.plan
        pause = Event()
        sampled_s = -SAMPLE_S
        while (now_s := self._now_s()) < plan.seconds or self._running:
            assert now_s < plan.seconds + END_S, f"never over: {self._running}\n{self._daemon.log}"
            if now_s - sampled_s >= SAMPLE_S:
                sampled_s = now_s
                self._course.samples.append(sample(self._daemon.process.pid, now_s))
            view = look(self._daemon)
            for name in self._patients:
                if name in self._running:
                    self._follow(name, view)
                elif self._next_s[name] <= now_s < plan.seconds:
                    self._cause(name, view)
            pause.wait(TICK_S)
        view = look(self._daemon)
        self._course.reconnects = view.reconnects
        self._course.frames = view.frames
        self._course.sink_failures = view.sink_failures

    def _cause(self, name: str, view: View) -> None:
        kind: Kind = self._random.choice(self._kinds)
        injection = Injection(kind, name, round(self._now_s(), 2))
        self._course.injections.append(injection)
        kind.cause(self._patients[name])
        self._running[name] = injection, view, None

    def _follow(self, name: str, view: View) -> None:
        """Notice that a fault was found, heal it, notice that it is over."""
        injection, before, good_since_s = self._running[name]
        now_s = self._now_s()
        since_s = now_s - injection.caused_at_s
        is_live = view.states.get(name) == "live"
        if injection.found_after_s is None and not is_live and injection.kind.reasons:
            injection.found_after_s = round(since_s, 2)
        counted = difference(view.reconnects.get(name, {}), before.reconnects.get(name, {}))
        if injection.healed_at_s is None:
            # Shown as stalled it is sooner than opened anew, and that is what has to come.
            if not (counted or since_s >= injection.kind.lasts_s):
                return
            injection.kind.heal(self._patients[name])
            injection.healed_at_s = self._now_s()
            before.frames[name] = view.frames[name]
            return
        has_begun = not injection.kind.reasons or injection.kind.damages or bool(counted)
        if not (is_live and has_begun and view.frames[name] > before.frames[name]):
            self._running[name] = injection, before, None
            return
        if good_since_s is None:
            injection.recovered_after_s = round(now_s - injection.healed_at_s, 2)
            self._running[name] = injection, before, now_s
        elif now_s - good_since_s >= SETTLE_S:
            injection.counted = counted
            injection.damaged = view.damaged.get(name, 0) - before.damaged.get(name, 0)
            del self._running[name]
            self._next_s[name] = now_s + self._gap_s()

    def _gap_s(self) -> float:
        return self._random.expovariate(1.0 / self._course.plan.gap_s)

    def _now_s(self) -> float:
        return time.monotonic() - self._began_s


def draw_face(path: Path) -> Path:
    """A drawn face, 200 px wide, so that the rest of a picture of 320 px is left to move."""
    frame = next(iter(DemoSource("soak", _SCENE, stop=Event(), live=False).frames()))
    (x_px, *_), *_ = expected(_SCENE, 0.0)
    left_px = int(min(max(x_px - 100, 0), 120))
    rgb = frame.image.to_ndarray(format="rgb24")[:, left_px : left_px + 200]
    with av.open(str(path), "w", format="image2") as container:
        stream = container.add_stream("png", rate=Fraction(1))
        stream.width, stream.height, stream.pix_fmt = 200, 240, "rgb24"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb.copy(), "rgb24")))
        container.mux(stream.encode(None))
    return path


def _all_live(view: View, names: Sequence[str]) -> bool:
    return all(view.states.get(name) == "live" for name in names)


def difference(after: dict[str, int], before: dict[str, int]) -> dict[str, int]:
    """What was counted in between."""
    grown = {reason: times - before.get(reason, 0) for reason, times in after.items()}
    return {reason: times for reason, times in grown.items() if times}


def _play(path: Path, course: Course) -> None:
    """Decode a recording to its end, as strictly as a file can be read."""
    source = None
    try:
        source = VideoSource(path.name, str(path), live=False, stop=Event())
        pictures = sum(1 for _ in source.frames())
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it belongs in the report
        course.broken.append(f"{path.name}: {error}")
        return
    course.recordings[path.name] = pictures
    if source.damaged or source.cut or not pictures:
        course.broken.append(f"{path.name}: {source.damaged} damaged, {source.cut}, {pictures}")
