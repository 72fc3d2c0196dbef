"""`affectd models`: which model files are there; pulls the detectors' from official addresses."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn
from rich.table import Table

from daemon.commands.progress import progress_bar
from daemon.errors import ConfigError
from detectors import store
from detectors.errors import PullError


def list_models(console: Console) -> None:
    """Print the detectors' files, each with its state, the shipped weights, and the engines."""
    # Imported here: they bring torch, which `pull` does without.
    from classifiers.expression.engines import installed
    from classifiers.expression.weight_files import SHIPPED, shipped

    folder = store.models_dir("")
    models = store.list_models(folder)
    table = Table("model", "state", "file", box=None, pad_edge=False)
    for model in models:
        table.add_row(model.name, model.state, model.path.name)
    for name, weights in shipped().items():
        table.add_row(f"expression {name}", "shipped", weights.name)
    console.print(table)
    console.print(f"Detectors: {folder}")
    licences = ", ".join(f"{model.name} {model.licence}" for model in models)
    console.print(f"Licences of the detectors: {licences}")
    console.print(f"Expressions: {SHIPPED}")
    console.print(f"Engines on the processor, fastest first: {', '.join(installed())}")


def pull_models(names: Sequence[str], console: Console) -> None:
    """Pull the named models, or all, with a progress bar.

    Raises ConfigError for a name that is none, and PullError after the last model, with a line
    for each that could not be had.
    """
    for name in names:
        if name not in store.MODELS:
            raise ConfigError(f"{name!r} is no model; accepted: {', '.join(store.MODELS)}")
    failures = []
    target = store.models_dir("")
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with progress_bar(console, *columns) as bar:
        for name in names or list(store.MODELS):
            task = bar.add_task(name, total=None)

            def progress(done: int, total: int, task: object = task) -> None:
                bar.update(task, completed=done, total=total)  # type: ignore[arg-type]

            try:
                path = store.pull(name, target, progress=progress)
            except PullError as error:
                bar.remove_task(task)
                failures.append(str(error))
            else:
                console.print(f"{name}: {path}")
    if failures:
        raise PullError("\n".join(failures))
