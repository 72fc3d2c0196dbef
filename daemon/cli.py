"""The command line. Every command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from daemon.errors import AffectdError, ConfigError

DONE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

app = typer.Typer(
    name="affectd",
    help="Find faces in live video, read their expressions, draw, publish and count them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
models_app = typer.Typer(help="Model files of the detectors.", no_args_is_help=True)
events_app = typer.Typer(help="Readings that an events sink wrote.", no_args_is_help=True)
app.add_typer(models_app, name="models")
app.add_typer(events_app, name="events")

out = Console()
err = Console(stderr=True)

ConfigFile = Annotated[Path, typer.Argument(help="An affectd.toml.", show_default=False)]
DataDir = Annotated[
    Path, typer.Option(help="FER2013: a folder with train/ and test/, or a tar archive of it.")
]
Family = Annotated[str, typer.Argument(help="Family of classifiers; accepted: expression.")]


@app.command(epilog="Example: `affectd run /etc/affectd/affectd.toml`")
def run(config: ConfigFile) -> None:
    """Run the daemon until SIGTERM or Ctrl-C."""
    from daemon import signals

    signals.hold()
    from daemon.app import run_daemon
    from daemon.config_file import load

    loaded = load(config, os.environ)
    raise typer.Exit(run_daemon(loaded, config))


@app.command(epilog="Example: `affectd check config/affectd.toml`")
def check(config: ConfigFile) -> None:
    """Validate a configuration and the Python environment, and start nothing."""
    from daemon.config_file import load
    from daemon.environment import faults

    settings = load(config, os.environ).settings
    found = faults()
    for fault in found:
        err.print(f"affectd: {fault}", style="red", highlight=False, markup=False)
    if found:
        raise typer.Exit(FAILED)
    streams = ", ".join(stream.name for stream in settings.stream)
    out.print(f"{config}: valid; streams: {streams}", highlight=False, markup=False)


@app.command(epilog="Example: `affectd video party.mp4 read.mp4 --events readings.jsonl`")
def video(
    source: Annotated[str, typer.Argument(metavar="IN", help="A video file, or demo://…")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="The annotated MP4.")],
    events: Annotated[Path | None, typer.Option(help="Write the readings here, as JSONL.")] = None,
    config: Annotated[
        Path | None, typer.Option(help="Take everything but the streams from this affectd.toml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT and events.")] = False,
) -> None:
    """Annotate a video file; every frame is kept and waits for its own readings."""
    from daemon.offline import annotate_video

    annotate_video(source, target, events, config, force, err)


@app.command(epilog="Example: `affectd image photos/ me.jpg --out read --json > readings.jsonl`")
def image(
    sources: Annotated[
        list[Path], typer.Argument(metavar="IN…", help="Images, or folders of images.")
    ],
    folder: Annotated[Path, typer.Option("--out", help="Folder for the annotated images.")],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON an image.")
    ] = False,
    config: Annotated[
        Path | None, typer.Option(help="Take everything but the streams from this affectd.toml.")
    ] = None,
) -> None:
    """Annotate images."""
    from daemon.offline import annotate_images

    failed = annotate_images(sources, folder, as_json, config, out, err)
    if failed:
        raise typer.Exit(FAILED)


@models_app.command("list", epilog="Example: `affectd models list`")
def models_list() -> None:
    """Show which model files are there, and whether they are what they should be."""
    from rich.table import Table

    from classifiers.expression.classifier import SHIPPED, shipped
    from detectors.store import list_models, models_dir

    folder = models_dir("")
    table = Table("model", "file", "state", box=None)
    for model in list_models(folder):
        table.add_row(model.name, str(model.path), model.state)
    for name in shipped():
        table.add_row(f"expression {name}", str(SHIPPED / f"{name}.safetensors"), "shipped")
    out.print(table)


@models_app.command("pull", epilog="Example: `affectd models pull yunet`")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; all that are missing by default.")
    ] = None,
) -> None:
    """Bring the detectors' model files from their official addresses, checked by SHA-256."""
    from daemon.offline import pull_models

    pull_models(names or [], "", err)


@events_app.command("to-csv", epilog="Example: `affectd events to-csv readings.jsonl readings.csv`")
def events_to_csv(source: Path, target: Path) -> None:
    """Flatten readings into a CSV file."""
    from daemon.event_tables import to_csv

    out.print(f"{to_csv(source, target)} readings written to {target}", highlight=False)


@events_app.command(
    "to-parquet", epilog="Example: `affectd events to-parquet readings.jsonl readings.parquet`"
)
def events_to_parquet(source: Path, target: Path) -> None:
    """Flatten readings into a Parquet file; needs `pip install affectd[parquet]`."""
    from daemon.event_tables import to_parquet

    out.print(f"{to_parquet(source, target)} readings written to {target}", highlight=False)


@app.command(
    epilog="Example: `affectd train expression --recipe config/train/vgg10-half.toml "
    "--data fer2013 --out runs/vgg10`"
)
def train(
    family: Family,
    recipe: Annotated[Path, typer.Option(help="A recipe; see config/train/.")],
    data: DataDir,
    target: Annotated[Path, typer.Option("--out", help="Folder for weights, log and state.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in OUT.")] = False,
    max_minutes: Annotated[
        float | None, typer.Option(help="Stop by then, leaving a state to resume.")
    ] = None,
) -> None:
    """Train a classifier."""
    from daemon.learn import train_expression

    _family(family)
    if not train_expression(recipe, data, target, device, resume, max_minutes, err):
        raise typer.Exit(INTERRUPTED)


@app.command(epilog="Example: `affectd evaluate expression --data fer2013 --split public`")
def evaluate(
    family: Family,
    data: DataDir,
    split: Annotated[str, typer.Option(help="holdout, public or private.")] = "public",
    weights: Annotated[str, typer.Option(help="Shipped weights, or a .safetensors.")] = "default",
    tta: Annotated[str, typer.Option(help="none, flip or ten_crop.")] = "ten_crop",
) -> None:
    """Measure a classifier on a labelled split."""
    from daemon.learn import evaluate_expression

    _family(family)
    evaluate_expression(data, split, weights, tta, out)


@app.command(epilog="Example: `affectd version`")
def version() -> None:
    """Print the versions of affectd and what it stands on."""
    from daemon.version import versions

    for name, number in versions().items():
        out.print(f"{name} {number}", highlight=False)


def _family(name: str) -> None:
    if name != "expression":
        raise typer.BadParameter(f"{name!r} is no family; accepted: expression")


def main() -> None:
    """Entry point of `affectd`: turns every error that is meant for the user into one line."""
    from classifiers.errors import ClassifierError, RecipeError
    from detectors.errors import DetectorError

    try:
        app()
    except (ConfigError, RecipeError) as error:
        _say(error)
        sys.exit(USAGE)
    except (AffectdError, ClassifierError, DetectorError) as error:
        _say(error)
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _say(error: Exception) -> None:
    err.print(f"affectd: {error}", style="red", highlight=False, markup=False, soft_wrap=True)
