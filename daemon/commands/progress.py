"""The progress bar of a command."""

from __future__ import annotations

from rich.console import Console
from rich.progress import Progress, ProgressColumn


def progress_bar(console: Console, *columns: ProgressColumn) -> Progress:
    """A bar that leaves nothing behind, and on no terminal does not appear at all."""
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
