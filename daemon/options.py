"""Arguments and options that commands share, and the choices that their help lists."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Literal, get_args

import typer

from classifiers.expression import DeviceSetting, EngineSetting, Split, StaticTTA
from daemon.terminal import path

path_argument = partial(typer.Argument, parser=path)
path_option = partial(typer.Option, parser=path, metavar="PATH")

ConfigFile = Annotated[Path, path_argument(metavar="CONFIG", help="An affectd.toml.")]
OtherConfig = Annotated[Path | None, path_option(help="An affectd.toml; its streams are left out.")]
Private = Annotated[
    Literal["none", "blur"],
    typer.Option("--privacy", help="blur covers faces once they are read."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
DataDir = Annotated[Path, path_option(help="FER2013: folder, tar or CSV.")]
Family = Annotated[
    Literal["expression"], typer.Argument(metavar="expression", help="The family.", hidden=True)
]
Readings = Annotated[Path, path_argument(metavar="IN", help="A JSONL of readings.")]
SkipBroken = Annotated[
    bool, typer.Option("--skip-broken", help="Leave out lines that are no readings, and name them.")
]
Strict = Annotated[bool, typer.Option("--strict", help="Refuse bad images instead of skipping.")]
SPLITS = "|".join(get_args(Split)).replace("public", "public (default)")
DEVICES = "|".join(get_args(DeviceSetting)).replace("auto", "auto (default)")
ENGINES = "|".join(get_args(EngineSetting)).replace("torch", "torch (default)")
MODES = f"{'|'.join(get_args(StaticTTA))} (default)"
