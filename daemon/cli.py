"""The command line. Every command imports what it needs when it runs, so that help is quick."""

from __future__ import annotations

import io
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from classifiers.expression import DeviceSetting, EngineSetting, Split, StaticTTA
from daemon.errors import (
    WRONG,
    AffectdError,
    ConfigError,
    SinkError,
    SourceError,
    UnusableError,
)
from daemon.options import (
    DEVICES,
    ENGINES,
    MODES,
    SPLITS,
    ConfigFile,
    DataDir,
    Family,
    Force,
    OtherConfig,
    Private,
    Strict,
    path_argument,
    path_option,
)
from daemon.service import signals
from daemon.subcommands import events_app, models_app
from daemon.terminal import err, out, say

FAILED, USAGE = 1, 2

app = typer.Typer(
    name="affectd",
    help="Find faces in live video, and read, draw, publish and count expressions.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(models_app, name="models")
app.add_typer(events_app, name="events")


def _print_version(asked: bool) -> None:
    if asked:
        from daemon.version import affectd_version

        out.print(f"affectd {affectd_version()}")
        raise typer.Exit


@app.callback()
def begin(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """What comes before every command."""
    if context.invoked_subcommand != "run":  # `run` handles signals itself
        signals.raise_exit()


@app.command()
def run(config: ConfigFile) -> None:
    """Run the daemon until SIGTERM, Ctrl-C or the end of its terminal.

    Example: affectd run /etc/affectd/affectd.toml"""
    signals.hold()
    from classifiers.errors import ClassifierError
    from daemon.app import run_daemon
    from daemon.config.file import load

    try:
        code = run_daemon(load(config, os.environ), config)
    except (UnusableError, ClassifierError) as error:
        raise AffectdError(str(error)) from error  # Exit code FAILED: systemd tries again.
    # Everything of ours is closed; torch alone would take seconds to tear itself down.
    os._exit(code)


@app.command()
def check(
    config: ConfigFile,
    connect: Annotated[
        bool, typer.Option("--connect", help="Open each source too, for one picture.")
    ] = False,
) -> None:
    """Validate a configuration and the environment; start nothing.

    Example: affectd check config/affectd.toml --connect"""
    from daemon.commands.check import check_config

    if not check_config(config, connect):
        raise typer.Exit(FAILED)


@app.command()
def video(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A video file, or demo://NAME?seconds=10.")
    ],
    target: Annotated[
        Path | None,
        path_argument(metavar="OUT", help="The annotated MP4; not needed with the next two."),
    ] = None,
    events: Annotated[Path | None, path_option(help="Write the readings here, as JSONL.")] = None,
    frames: Annotated[Path | None, path_option(help="List all frames here, as CSV.")] = None,
    record: Annotated[
        Path | None, path_option(help="Write versions, settings, checksums here.")
    ] = None,
    config: OtherConfig = None,
    privacy: Private = "none",
    force: Force = False,
) -> None:
    """Annotate a video file, every frame with its own readings.

    Example: affectd video party.mp4 read.mp4 --events readings.jsonl"""
    from daemon.commands.video.files import VideoFiles
    from daemon.commands.video.run import annotate_video

    annotate_video(
        source,
        VideoFiles(target, events, frames, record),
        config=config,
        force=force,
        console=err,
        privacy=privacy,
        command=_typed(),
    )


@app.command()
def image(
    sources: Annotated[
        list[Path], path_argument(metavar="IN…", help="Images, or folders of images.")
    ],
    folder: Annotated[
        Path | None,
        path_option("--out", help="Folder for annotated images; not needed with --json."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON an image.")
    ] = False,
    config: OtherConfig = None,
    privacy: Private = "none",
    force: Force = False,
) -> None:
    """Annotate images; those that cannot be read are named.

    Example: affectd image photos/ me.jpg --out read --json > images.jsonl"""
    from daemon.commands.image import annotate_images

    failed = annotate_images(
        sources,
        folder,
        as_json=as_json,
        config=config,
        force=force,
        out=out,
        err=err,
        privacy=privacy,
    )
    if failed:
        raise typer.Exit(FAILED)


@app.command()
def train(
    family: Family,
    recipe: Annotated[Path, path_option(help="A recipe; see config/train/.")],
    data: DataDir,
    target: Annotated[Path, path_option("--out", help="Folder for weights, log and state.")],
    device: Annotated[
        DeviceSetting, typer.Option(metavar="NAME", help=DEVICES, show_default=False)
    ] = "auto",
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the state in OUT.")] = False,
    max_minutes: Annotated[
        float | None,
        typer.Option(help="Stop by then, leaving a state to resume; scoring at the end is extra."),
    ] = None,
    compiled: Annotated[
        bool,
        typer.Option("--compile", help="Let PyTorch compile the net: faster, after a minute."),
    ] = False,
    strict: Strict = False,
) -> None:
    """Train a classifier.

    Example: affectd train expression --recipe config/train/vgg10-half.toml
    --data fer2013 --out runs/vgg10-half"""
    from daemon.commands.train import train_expression

    train_expression(
        recipe,
        data,
        target,
        device=device,
        compiled=compiled,
        resume=resume,
        max_minutes=max_minutes,
        strict=strict,
        console=err,
    )


@app.command()
def evaluate(
    family: Family,
    data: DataDir,
    split: Annotated[
        Split, typer.Option(metavar="NAME", help=SPLITS, show_default=False)
    ] = "public",
    weights: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="Shipped net or file (default: default).", show_default=False
        ),
    ] = "default",
    tta: Annotated[
        StaticTTA, typer.Option(metavar="NAME", help=MODES, show_default=False)
    ] = "ten_crop",
    device: Annotated[
        DeviceSetting, typer.Option(metavar="NAME", help=DEVICES, show_default=False)
    ] = "auto",
    engine: Annotated[
        EngineSetting, typer.Option(metavar="NAME", help=ENGINES, show_default=False)
    ] = "torch",
    predictions: Annotated[
        Path | None, path_option(metavar="CSV", help="Write each image's probabilities here.")
    ] = None,
    report: Annotated[
        Path | None, path_option(metavar="DIR", help="Write all figures and plots here.")
    ] = None,
    corruptions: Annotated[
        bool, typer.Option("--corruptions", help="Score dim, blurred, shifted copies too.")
    ] = False,
    against: Annotated[
        str | None, typer.Option(metavar="NAME", help="Other weights to compare with.")
    ] = None,
    against_engine: Annotated[
        EngineSetting | None,
        typer.Option(metavar="NAME", help="Their engine (default: as --engine)."),
    ] = None,
    against_tta: Annotated[
        StaticTTA | None, typer.Option(metavar="NAME", help="Their views (default: as --tta).")
    ] = None,
    strict: Strict = False,
) -> None:
    """Measure a classifier on a labelled split.

    Example: affectd evaluate expression --data fer2013 --split public"""
    from daemon.commands.evaluate import Task, evaluate_expression

    task = Task(
        source=data,
        split=split,
        weights=weights,
        tta=tta,
        device=device,
        engine=engine,
        predictions=predictions,
        report=report,
        corruptions=corruptions,
        against=against,
        against_engine=against_engine,
        against_tta=against_tta,
        strict=strict,
        command=_typed(),
    )
    evaluate_expression(task, out, err)


@app.command()
def calibrate(
    family: Family,
    data: DataDir,
    weights: Annotated[
        str, typer.Option(metavar="NAME", help="Shipped name or file; of a joint, all its nets.")
    ] = "default",
    strict: Strict = False,
) -> None:
    """Prepare trained weights for int8, and score them in it.

    Example: affectd calibrate expression --data fer2013 --weights joint"""
    from daemon.commands.calibrate import calibrate_expression

    calibrate_expression(weights, data, strict=strict, out=out, err=err)


@app.command()
def bench(
    fps: Annotated[int, typer.Option(help="Pictures a second of each camera.", min=1, max=60)] = 15,
    faces: Annotated[int, typer.Option(help="Faces before each camera.", min=1, max=6)] = 2,
    sinks: Annotated[
        str, typer.Option(metavar="KINDS", help="What each camera feeds: mp4, events, none.")
    ] = "mp4",
    seconds: Annotated[float, typer.Option(help="Time for measuring.", min=10.0)] = 110.0,
    config: OtherConfig = None,
    target: Annotated[
        Path | None, path_option("--json", metavar="FILE", help="Write the figures here too.")
    ] = None,
) -> None:
    """Measure how many cameras and faces this machine carries.

    Example: affectd bench --fps 25 --faces 1 --sinks none"""
    from daemon.commands.bench.run import bench as measure

    measure(fps, faces, sinks, seconds, config, target, out, err)


@app.command()
def version() -> None:
    """Print the versions of affectd and of the libraries it uses.

    Example: affectd version"""
    from daemon.version import versions

    for name, number in versions().items():
        out.print(f"{name} {number}")


def _typed() -> str:
    return shlex.join(["affectd", *sys.argv[1:]])


def main() -> None:
    """Entry point of `affectd`: turns every error that is meant for the user into one line."""
    from classifiers.errors import (
        CheckpointError,
        ClassifierError,
        DataError,
        EngineError,
        RecipeError,
    )
    from detectors.errors import DetectorError

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # A file's name need not be text.
    try:
        app(prog_name="affectd")
    except (ConfigError, RecipeError, CheckpointError, DataError, EngineError) as error:
        say(str(error))
        sys.exit(USAGE)
    except (SourceError, SinkError) as error:
        say(str(error))
        sys.exit(USAGE if error.reason in WRONG else FAILED)
    except (AffectdError, ClassifierError, DetectorError) as error:
        say(str(error))
        sys.exit(FAILED)
    except KeyboardInterrupt:
        sys.exit(signals.INTERRUPTED)
