"""What a net reads in real clips: the share of each label, as the daemon would show it.

    python -m tests.bench.clips [--weights default] [--tta scales] [--backend yunet] [--neutral 0.5]

Every clip goes through `affectd video` with its smoothing and its thresholds; a reading is a face
in a frame. Prints a Markdown table of the labels that occur; and, since `unknown` hides what lies
below the threshold, of how many readings neutral or sad is the likeliest class all the same, and
the mean probability of both. Resting and talking faces ought to be mostly neutral.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any, get_args

from rich.console import Console

from classifiers.expression import LABELS, TTA
from daemon.commands.video.files import VideoFiles
from daemon.commands.video.run import annotate_video
from daemon.reading import UNKNOWN
from tests.bench.parts.arguments import parser_of
from tests.shared import VIDEO

CLIPS = (".mp4", ".mpg", ".mkv", ".avi", ".mov", ".webm")
WATCHED = ("neutral", "sad")

Event = dict[str, Any]


def clips_in(folder: Path) -> list[Path]:
    """The clips of a folder, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in CLIPS)


def read(clip: Path, config: Path, folder: Path) -> list[Event]:
    """The readings of a clip, as events; leaves the annotated clip in `folder`."""
    events = folder / f"{clip.stem}.jsonl"
    files = VideoFiles(folder / f"{clip.stem}.mp4", events)
    annotate_video(str(clip), files, config, True, Console(stderr=True))
    with events.open() as lines:
        return [json.loads(line) for line in lines]


def table(clips: dict[str, list[Event]]) -> str:
    """The readings of each clip, by its name, as a Markdown table."""
    occurring = {event["label"] for events in clips.values() for event in events}
    shown = [label for label in (*LABELS, UNKNOWN) if label in occurring]
    head = ["clip", "faces read", *shown]
    head += [f"likeliest {label}" for label in WATCHED] + [f"mean p {label}" for label in WATCHED]
    lines = [f"| {' | '.join(head)} |", "|---" + "|--:" * (len(head) - 1) + "|"]
    for name, events in clips.items():
        labels = [event["label"] for event in events]
        shares = [event["probabilities"] for event in events]
        likeliest = [max(p, key=p.__getitem__) for p in shares]
        cells = [_share(labels, label) for label in shown]
        cells += [_share(likeliest, label) for label in WATCHED]
        for label in WATCHED:
            cells.append(f"{statistics.mean(p[label] for p in shares):.2f}" if shares else "–")
        lines.append(f"| {name} | {len(events)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(labels: list[str], label: str) -> str:
    if not labels:
        return "–"
    number = labels.count(label)
    return f"{number / len(labels):.0%}" if number else "0"


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--weights", default="default", help="shipped weights, or a file")
    parser.add_argument("--clips", type=Path, default=VIDEO, help="a folder of clips")
    parser.add_argument("--backend", default="auto", help="of the detector")
    parser.add_argument("--tta", choices=get_args(TTA), default="ten_crop")
    parser.add_argument("--neutral", type=float, help="its share, told by expression.prior")
    parser.add_argument("--keep", type=Path, help="leave annotated clips and readings here")
    options = parser.parse_args()
    clips = clips_in(options.clips)
    if not clips:
        parser.error(f"{options.clips}: no clip in it; accepted: {', '.join(CLIPS)}")
    prior = "" if options.neutral is None else f"prior.neutral = {options.neutral}\n"
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = Path(temporary) / "clips.toml"
        config.write_text(
            f"[detector]\nbackend = {json.dumps(options.backend)}\n"
            f"[expression]\nweights = {json.dumps(options.weights)}\n"
            f"tta = {json.dumps(options.tta)}\n{prior}"
            '[[stream]]\nname = "unused"\nurl = "demo://unused"\n'
        )
        print(table({clip.name: read(clip, config, folder) for clip in clips}))


if __name__ == "__main__":
    main()
