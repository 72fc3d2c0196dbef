"""`affectd train` on a terminal. Nothing here is loaded by the daemon."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console
from rich.table import Table

from classifiers.expression import Device, DeviceSetting
from classifiers.expression.engines.cuda import device_for
from classifiers.expression.training import joining
from classifiers.expression.training.compiling import compile_fault
from classifiers.expression.training.interrupt import Interrupted
from classifiers.expression.training.journal import Step
from classifiers.expression.training.recipe import JointRecipe, read
from classifiers.expression.training.train import train
from daemon.commands.progress import share_bar
from daemon.errors import ConfigError
from daemon.sinks.disk import make_folder, sink_errors


def train_expression(
    recipe: Path,
    source: Path,
    out: Path,
    *,
    device: DeviceSetting,
    compiled: bool,
    resume: bool,
    max_minutes: float | None,
    strict: bool,
    console: Console,
) -> None:
    """Train with a progress bar, to the end of the run or to that of `max_minutes`. `device` "auto"
    is a graphics card where one works.

    Raises ConfigError for options that cannot be used, EngineError for a card that does not work,
    SinkError for a folder that cannot be written, and what `read` and `train` raise.
    """
    if max_minutes is not None and not 0.0 <= max_minutes < math.inf:
        raise ConfigError(
            f"--max-minutes is {max_minutes:g}; accepted: a finite number, at least 0"
        )
    used, fault = device_for(device, "--device")
    plan = read(recipe)
    if isinstance(plan, JointRecipe) and (resume or compiled or max_minutes is not None):
        raise ConfigError(
            f"{recipe}: a joint is made in one go, without --resume, --compile, --max-minutes"
        )
    if compiled and (lacks := compile_fault(used)):
        raise ConfigError(f"--compile cannot be had: {lacks}; accepted: without it")
    if fault:
        console.print(f"WARNING: {fault}; the processor trains")
    with sink_errors(out):
        make_folder(out)
    console.print(f"Reading {source} …")
    if isinstance(plan, JointRecipe):
        _train_joint(plan, source, out, used, strict, console)
        return
    again = "--resume --compile" if compiled else "--resume"
    stopped = f"Stopped early; go on with {again} --out {out}"
    try:
        with share_bar(console) as on_share:
            weights = train(
                plan,
                source,
                out,
                device=used,
                compiled=compiled,
                resume=resume,
                max_minutes=max_minutes,
                strict=strict,
                commit=_commit(),
                log=console.print,
                report=_on_step(console, plan.epochs, on_share),
                on_share=on_share,
            )
    except Interrupted as error:
        console.print(stopped)
        sys.exit(128 + error.number)
    console.print(stopped if weights is None else f"Weights: {weights}")


def _on_step(
    console: Console, epochs: int, on_share: Callable[[float, str], None]
) -> Callable[[Step], None]:
    """What tells the bar of each step; each epoch leaves a line."""

    def report(step: Step) -> None:
        text = (
            f"epoch {step.epoch + 1}/{epochs}  loss {step.loss:.3f}  "
            f"accuracy {step.accuracy:.1%}  {step.images_per_s:.0f} images/s"
        )
        on_share(step.step / step.steps, text)
        if step.holdout is not None:
            console.print(f"{text}  holdout {step.holdout:.1%}")

    return report


def _train_joint(
    plan: JointRecipe, source: Path, out: Path, device: Device, strict: bool, console: Console
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

        tried = joining.make(
            plan,
            source,
            out,
            device=device,
            strict=strict,
            commit=_commit(),
            log=console.print,
            report=report,
        )
    table = Table("net", "weight", "NLL, holdout", "correct, public", box=None, pad_edge=False)
    for one in tried:
        table.add_row(one.name, f"{one.weight:g}", f"{one.nll:.4f}", f"{one.accuracy:.2%}")
    console.print(table)
    console.print(f"Weights: {out / joining.FILE}")


def _commit() -> str:
    """The commit that the code stands at, for the record; empty outside its own checkout."""
    here = Path(__file__)

    def git(*words: str) -> str:
        command = ["git", "-C", str(here.parent), *words]
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
        return done.stdout.strip()

    try:
        git("ls-files", "--error-unmatch", here.name)  # fails in a checkout of something else
        return git("describe", "--always", "--dirty")
    except (OSError, subprocess.SubprocessError):
        return ""
