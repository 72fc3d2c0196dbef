"""`affectd train` on a terminal, for a joint. Nothing here is loaded by the daemon."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from classifiers.expression import Device
from classifiers.expression.training.joining import FILE, make
from classifiers.expression.training.recipe import JointRecipe
from daemon.commands.progress import share_bar


def train_joint(
    plan: JointRecipe,
    source: Path,
    out: Path,
    *,
    device: Device,
    strict: bool,
    commit: str,
    console: Console,
) -> None:
    """Make a joint with a progress bar, and print what each net had alone."""
    said = ""
    with share_bar(console) as on_share:

        def report(share: float, text: str) -> None:
            nonlocal said
            on_share(share, text)
            if text != said and not console.is_terminal:
                console.print(f"{share:4.0%}  {text}")
            said = text

        tried = make(
            plan,
            source,
            out,
            device=device,
            strict=strict,
            commit=commit,
            log=console.print,
            report=report,
        )
    table = Table("net", "weight", "NLL, holdout", "correct, public", box=None, pad_edge=False)
    for one in tried:
        table.add_row(one.name, f"{one.weight:g}", f"{one.nll:.4f}", f"{one.accuracy:.2%}")
    console.print(table)
    console.print(f"Weights: {out / FILE}")
