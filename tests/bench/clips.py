"""What a net reads in real clips: the share of each label, as the daemon would show it.

    python -m tests.bench.clips [--weights default] [--clips ../shared/video] [--backend auto]

Every clip goes through `affectd video` with its smoothing and its thresholds; a reading is a face
in a frame. Prints a Markdown table. Resting and talking faces ought to be mostly neutral.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path

from rich.console import Console

from classifiers.expression import LABELS
from daemon.commands.video import annotate_video
from tests.shared import VIDEO

SHOWN = (*LABELS, "unknown")
CLIPS = (".mp4", ".mpg", ".mkv", ".avi", ".mov", ".webm")


def clips_in(folder: Path) -> list[Path]:
    """The clips of a folder, by name."""
    return sorted(path for path in folder.glob("*") if path.suffix.lower() in CLIPS)


def read(clip: Path, config: Path, folder: Path) -> Counter[str]:
    """How often each label is shown in a clip; leaves the annotated clip in `folder`."""
    events = folder / f"{clip.stem}.jsonl"
    annotate_video(
        str(clip), folder / f"{clip.stem}.mp4", events, config, True, Console(stderr=True)
    )
    with events.open() as lines:
        return Counter(json.loads(line)["label"] for line in lines)


def row(name: str, counted: Counter[str]) -> str:
    """A line of the table."""
    total = counted.total()
    if not total:
        return f"| {name} | 0 | {' | '.join('–' for _ in SHOWN)} | – |"
    shares = [f"{counted[label] / total:.0%}" if counted[label] else "0" for label in SHOWN]
    return f"| {name} | {total} | {' | '.join(shares)} | {counted.most_common(1)[0][0]} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--weights", default="default", help="shipped weights, or a file")
    parser.add_argument("--clips", type=Path, default=VIDEO, help="a folder of clips")
    parser.add_argument("--backend", default="auto", help="of the detector")
    parser.add_argument("--keep", type=Path, help="leave annotated clips and readings here")
    options = parser.parse_args()
    clips = clips_in(options.clips)
    if not clips:
        parser.error(f"{options.clips}: no clip in it; accepted: {', '.join(CLIPS)}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        config = Path(temporary) / "clips.toml"
        config.write_text(
            f"[detector]\nbackend = {json.dumps(options.backend)}\n"
            f"[expression]\nweights = {json.dumps(options.weights)}\n"
            '[[stream]]\nname = "unused"\nurl = "demo://unused"\n'
        )
        print(f"| clip | faces read | {' | '.join(SHOWN)} | most frequent |")
        print("|---" * (len(SHOWN) + 3) + "|")
        for clip in clips:
            print(row(clip.stem, read(clip, config, folder)), flush=True)


if __name__ == "__main__":
    main()
