"""The commands that come in groups: `affectd models …` and `affectd events …`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from daemon.options import Readings, SkipBroken, path_argument
from daemon.terminal import err, out

if TYPE_CHECKING:
    from daemon.commands.event_tables import Count

models_app = typer.Typer(help="Model files of the detectors.", no_args_is_help=True)
events_app = typer.Typer(help="Readings as tables.", no_args_is_help=True)


@models_app.command("list")
def models_list() -> None:
    """Show which model files are there, and whether they are right.

    Example: affectd models list"""
    from daemon.commands.models import list_models

    list_models(out)


@models_app.command("pull")
def models_pull(
    names: Annotated[
        list[str] | None, typer.Argument(help="Which; all that are missing by default.")
    ] = None,
) -> None:
    """Bring the detectors' models from their official addresses.

    Example: affectd models pull yunet"""
    from daemon.commands.models import pull_models

    pull_models(names or [], err)


@events_app.command("to-csv")
def events_to_csv(
    source: Readings,
    target: Annotated[Path, path_argument(metavar="OUT", help="The CSV file.")],
    skip_broken: SkipBroken = False,
) -> None:
    """Flatten readings into a CSV file.

    Example: affectd events to-csv readings.jsonl readings.csv"""
    from daemon.commands.event_tables import to_csv

    _flatten(to_csv, source, target, skip_broken)


@events_app.command("to-parquet")
def events_to_parquet(
    source: Readings,
    target: Annotated[Path, path_argument(metavar="OUT", help="The Parquet file.")],
    skip_broken: SkipBroken = False,
) -> None:
    """Flatten readings into a Parquet file; needs pyarrow, the extra "parquet".

    Example: affectd events to-parquet readings.jsonl readings.parquet"""
    from daemon.commands.event_tables import to_parquet

    _flatten(to_parquet, source, target, skip_broken)


def _flatten(convert: Callable[..., Count], source: Path, target: Path, skip_broken: bool) -> None:
    from daemon.commands.progress import share_bar

    with share_bar(err) as on_share:
        on_broken = err.print if skip_broken else None
        written = convert(source, target, on_broken=on_broken, on_share=on_share)
    rowless = f"; {written.rowless}" if written.rowless else ""
    out.print(f"{written} written to {target}{rowless}")
