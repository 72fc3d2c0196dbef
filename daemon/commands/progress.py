"""The progress bar of a command."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)


def progress_bar(console: Console, *columns: ProgressColumn, auto_refresh: bool = True) -> Progress:
    """A bar that leaves nothing behind, and on no terminal does not appear at all. With
    `auto_refresh` a thread of its own draws it."""
    return Progress(
        *columns,
        console=console,
        auto_refresh=auto_refresh,
        transient=True,
        disable=not console.is_terminal,
    )


@contextmanager
def share_bar(console: Console) -> Iterator[Callable[..., None]]:
    """A bar for work that says which share of it is done, 0..1, and if it likes with what text.

    A share below the last one begins other work, whose time is counted anew.
    """
    columns = (
        TextColumn("{task.percentage:>3.0f} %"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.description}"),
    )
    with progress_bar(console, *columns) as bar:
        task = bar.add_task("starting", total=None)

        def report(share: float, text: str = "") -> None:
            if share < bar.tasks[task].completed:
                bar.reset(task)
            bar.update(task, total=1.0, completed=share, description=text)

        yield report
