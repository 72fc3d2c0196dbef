"""affectd beside the usual loop and the package `fer`, on the same faces and the same clip.

    python -m tests.bench.peers --data fer2013 --clip ../shared/video/two_people_head_pose.mp4

`fer` gets a virtual environment of its own, made in `--folder` when it is not there (2.5 GB, with
TensorFlow; without what only its MTCNN and its sound need). Where that fails the others are
measured without it. Rates are of processor time, one thread each, in rounds in which every way has
its turn; accuracy is that on PublicTest, of `--images` of it, the same for all.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from pydantic import SecretStr

from classifiers.errors import CheckpointError
from classifiers.expression import LABELS, TTA, Engine
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.engines import installed
from classifiers.expression.tta import STATIC_TTA
from daemon import models
from daemon.config.settings import ExpressionSettings, Settings, StreamSettings
from daemon.config.sink_settings import Mp4SinkSettings
from daemon.monitoring.health import Health
from daemon.monitoring.metrics import Metrics
from daemon.pipeline import Shared
from daemon.reading import Reading
from tests.bench.parts.arguments import parser_of
from tests.bench.parts.sites import take_through
from tests.bench.parts.usual_loop import Loop
from tests.fer import load_split

FER = "fer==25.10.3"
# What its TFLite path imports; facenet-pytorch, which the package asks for too, would bring CUDA.
NEEDS = ("tensorflow", "opencv-contrib-python<5", "requests", "pandas", "tqdm", "matplotlib",
         "pillow", "setuptools<81")  # fmt: skip
BATCH = 16

Faces = NDArray[np.uint8]


@dataclass(frozen=True)
class Peer:
    """A way to do it: `label` names what each face shows, `read` does so with the faces from one
    index to another, `annotate` takes the clip through and gives its frames and the faces that were
    read in it; both give processor seconds."""

    name: str
    labels: Callable[[], list[str]]
    read: Callable[[int, int], float]
    annotate: Callable[[], tuple[int, int, float]]


def fer_python(folder: Path) -> Path | None:
    """The interpreter of the environment with `fer`, made if need be; None where it cannot be."""
    python = folder / "bin" / "python"
    if not python.exists():
        print(f"making {folder} for {FER}, which takes minutes", file=sys.stderr)
        venv.create(folder, with_pip=True)
    pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    probe = [str(python), "-c", "import fer.fer"]
    if subprocess.run(probe, capture_output=True).returncode == 0:
        return python
    for wanted in (["--no-deps", FER], list(NEEDS)):
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True)
        if done.returncode != 0:
            lines = done.stderr.strip().splitlines() or ["pip said nothing"]
            print(f"{FER} is left out, it cannot be installed: {lines[-1]}", file=sys.stderr)
            return None
    done = subprocess.run(probe, capture_output=True, text=True)
    if done.returncode != 0:
        why = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
        print(f"{FER} is left out, it cannot be imported: {why}", file=sys.stderr)
        return None
    return python


@contextmanager
def fer_peer(python: Path, faces: Faces, clip: Path, folder: Path) -> Iterator[Peer]:
    """The other environment's process, until the block is left."""
    np.save(folder / "faces.npy", faces)
    script = Path(__file__).with_name("parts") / "peer_fer.py"
    arguments = [folder / "faces.npy", clip, folder / "fer.mp4"]
    process = subprocess.Popen(
        [str(python), str(script), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    stdin, stdout = process.stdin, process.stdout

    def ask(line: str) -> object:
        stdin.write(f"{line}\n")
        stdin.flush()
        return json.loads(stdout.readline())

    def labels() -> list[str]:
        answer = ask("labels")
        assert isinstance(answer, list)
        return [str(label) for label in answer]

    def annotate() -> tuple[int, int, float]:
        answer = ask("clip")
        assert isinstance(answer, list)
        return int(answer[0]), int(answer[1]), float(answer[2])

    try:
        yield Peer(
            f"{FER}, TFLite, one crop",
            labels,
            lambda start, end: float(str(ask(f"faces {start} {end}"))),
            annotate,
        )
    finally:
        stdin.close()
        process.wait(20.0)


def spent_s(work: Callable[[], object]) -> float:
    """Processor time of this process, all threads."""
    began_s = time.process_time()
    work()
    return time.process_time() - began_s


def usual_peer(faces: Faces, clip: Path, folder: Path, loop: Loop) -> Peer:
    def annotate() -> tuple[int, int, float]:
        began_s = time.process_time()
        frames, found = loop.annotate(clip, folder / "usual.mp4")
        return frames, found, time.process_time() - began_s

    return Peer(
        "the usual loop, ten crops",
        lambda: [LABELS[i] for i in loop.classify(faces).argmax(1)],
        lambda start, end: spent_s(lambda: loop.classify(faces[start:end])),
        annotate,
    )


def own_peer(
    faces: Faces, clip: Path, folder: Path, weights: str, engine: Engine, tta: TTA
) -> Peer:
    """affectd with one engine and one mode, in batches as the daemon makes them."""
    net = ExpressionClassifier.load(weights, device="cpu", tta=tta, engine=engine)

    def read(start: int, end: int) -> NDArray[np.float32]:
        batches = range(start, end, BATCH)
        return np.concatenate([net.predict(faces[at : min(end, at + BATCH)]) for at in batches])

    return Peer(
        f"affectd, {net.engine}, {tta}",
        lambda: [LABELS[i] for i in read(0, len(faces)).argmax(1)],
        lambda start, end: spent_s(lambda: read(start, end)),
        lambda: annotate(clip, folder, weights, engine, tta),
    )


def annotate(
    clip: Path, folder: Path, weights: str, engine: Engine, tta: TTA
) -> tuple[int, int, float]:
    """`affectd video` from its first frame to its last, with the models loaded before."""
    target = folder / "affectd.mp4"
    target.unlink(missing_ok=True)
    stream = StreamSettings(name="video", url=SecretStr(str(clip)))
    expression = ExpressionSettings(weights=weights, device="cpu", tta=tta, engine=engine)
    settings = Settings(stream=(stream,), expression=expression)
    metrics, health = Metrics(CollectorRegistry()), Health(time.monotonic)
    loaded = models.load(settings, metrics, health, print)
    assert loaded.batcher is not None
    readings: list[Reading] = []
    shared = Shared(loaded, metrics, health=health, publish=readings.append)
    began_s = time.process_time()
    frames = take_through(clip, [Mp4SinkSettings(kind="mp4", path=target)], shared)
    seconds = time.process_time() - began_s
    loaded.batcher.stop()
    return frames, len(readings), seconds


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--data", type=Path, required=True, help="FER2013: folder, tar or CSV")
    parser.add_argument("--clip", type=Path, required=True, help="a video with faces")
    parser.add_argument("--folder", type=Path, help="where fer's environment is, or will be")
    parser.add_argument("--weights", default="default")
    parser.add_argument("--images", type=int, default=0, help="of PublicTest; 0 for all")
    parser.add_argument("--faces", type=int, default=64, help="in a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", nargs="+", choices=get_args(Engine), default=installed())
    parser.add_argument("--modes", nargs="+", choices=STATIC_TTA, default=STATIC_TTA)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    try:
        loop = Loop(options.weights)
    except CheckpointError as error:
        parser.error(f"--weights: {error}")
    public = load_split(options.data, "public")
    chosen = np.random.default_rng(0).permutation(len(public.labels))
    chosen = chosen[: options.images or len(chosen)]
    faces, truth = public.images[chosen], [LABELS[i] for i in public.labels[chosen]]
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        peers = []
        python = fer_python(options.folder or folder / "fer")
        if python is not None:
            peers.append(stack.enter_context(fer_peer(python, faces, options.clip, folder)))
        peers += [
            own_peer(faces, options.clip, folder, options.weights, engine, tta)
            for engine in options.engines
            for tta in options.modes
        ]
        peers.append(usual_peer(faces, options.clip, folder, loop))
        rates: list[list[float]] = [[] for _ in peers]
        for turn in range(options.rounds + 1):
            start = turn * options.faces % max(1, len(faces) - options.faces)
            for peer, found in zip(peers, rates, strict=True):
                seconds = peer.read(start, start + options.faces)
                if turn:  # the first warms
                    found.append(options.faces / seconds)
        clips = [peer.annotate() for peer in peers]
        print(f"{len(faces)} faces of PublicTest; rates a second of processor time")
        head = f"{'faces/s':>8} {'accuracy':>8}   clip: {'frames/s':>8} {'faces':>6}"
        print(f"{'':40} {head}", flush=True)
        for peer, found, (frames, seen, seconds) in zip(peers, rates, clips, strict=True):
            right = np.mean([a == b for a, b in zip(peer.labels(), truth, strict=True)])
            rate = statistics.median(found)
            clip_rate = frames / seconds
            line = f"{peer.name:40} {rate:8.1f} {right:8.1%}         {clip_rate:8.1f} {seen:6d}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
