"""Train one expression net: `affectd train expression`."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import torch

from classifiers import checkpoint
from classifiers.errors import CheckpointError, TrainingError
from classifiers.expression import LABELS, data, provenance
from classifiers.expression.crop import FACE_PX
from classifiers.expression.engines.activations import find_ranges
from classifiers.expression.evaluation.measure import accuracy, figures, need_extra, probabilities
from classifiers.expression.oom import explain_oom
from classifiers.expression.training.compiling import is_compile_error, why
from classifiers.expression.training.interrupt import Interrupted, between_steps
from classifiers.expression.training.journal import Journal, Step
from classifiers.expression.training.recipe import Recipe
from classifiers.expression.training.run import Run
from classifiers.expression.tta import STATIC_TTA, VIEW_COUNT

STATE = "last.pt"
WEIGHTS = "best.safetensors"
REPORT_S = 0.5  # between reports of steps: each of them waits for the card
STORE_S = 30.0  # between states: on a card an epoch takes little longer than storing one


@explain_oom(
    TrainingError,
    "lower batch in the recipe and begin anew; the last state, if there was one, was kept",
)
def train(
    recipe: Recipe,
    source: Path,
    out: Path,
    *,
    device: str = "cpu",
    compiled: bool = False,
    resume: bool = False,
    max_minutes: float | None = None,
    strict: bool = False,
    commit: str = "",
    log: Callable[[str], None] = lambda line: None,
    report: Callable[[Step], None] = lambda step: None,
    on_share: Callable[[float, str], None] = lambda share, text: None,
    clock: Callable[[], float] = time.monotonic,
) -> Path | None:
    """Train by `recipe` on the FER2013 at `source`; leave state, log and weights in `out`.

    Returns the weights' path, or None when `max_minutes` ended the run early, between two steps:
    its state is then in `out`, for `resume`. Ctrl-C and SIGTERM leave it too, and raise
    Interrupted; a second one ends the run at once and leaves the last state, if there was one.
    `strict` is that of `data.read`; `log` is told what was read and what computes. `report` gets
    the steps; `on_share`, of the work before and after them, the share that is done, 0..1, and what
    is being done. Raises DataError, CheckpointError, ExtraError without scikit-learn, and
    TrainingError when the loss is not a number, the device is full or `out` cannot be written.
    """
    need_extra()
    if not resume and any((out / name).exists() for name in (STATE, WEIGHTS)):
        raise CheckpointError(f"{out} holds a run already; accepted: --resume, or another --out")
    out.mkdir(parents=True, exist_ok=True)
    end_s = math.inf if max_minutes is None else clock() + 60.0 * max_minutes
    fer = data.read(source, strict, {"Training", "PublicTest"})
    held = fer.split("holdout")
    public = fer.split("public")
    faces = fer.split("train")
    log(faces.summary("Training"))
    log(held.summary("Holdout"))
    fingerprint = fer.fingerprint()
    if recipe.distillation:
        log(f"Taught by {recipe.distillation.teacher}, which may read all faces first")
    run = Run(recipe, faces, device, fingerprint, resume, compiled, log)
    for weights in run.learnt_from:
        if other := provenance.warning(weights, fingerprint):
            log(other)
    log(f"Computes on {run.computes}")
    if resume:
        before = run.restore(out / STATE)
        if before != run.computes:
            log(f"WARNING: the run was computed on {before} before; its weights will not repeat")
    finished = run.step >= run.steps
    with between_steps() as signalled, Journal(out, run.step // run.per_epoch) as journal:

        def stop() -> bool:
            return bool(signalled()) or clock() >= end_s

        stored_s = clock()  # before the teacher reads: the first epoch's end stores that too
        if run.teacher and not finished:
            run.teacher.read(stop, lambda share: on_share(share, "the teacher reads all faces"))
        while not finished and not stop():
            done = _epoch(run, held, stop, report, clock)
            if done:
                journal.write(done)  # first, so that it never lacks a line that the state has
                finished = run.step >= run.steps
                if finished or clock() - stored_s >= STORE_S:
                    run.store(out / STATE)
                    stored_s = clock()
        if not finished:
            run.store(out / STATE)
        if number := signalled():
            raise Interrupted(number)
        if not finished:
            return None
    try:
        return _finish(run, {"holdout": held, "public": public}, out, commit, on_share)
    except KeyboardInterrupt:
        raise Interrupted(signal.SIGINT) from None


def _epoch(
    run: Run,
    held: data.Faces,
    stop: Callable[[], bool],
    report: Callable[[Step], None],
    clock: Callable[[], float],
) -> Step | None:
    """Train to the end of the epoch and measure; None if `stop` said so before."""
    run.net.train()
    order = run.order()
    epoch = run.step // run.per_epoch
    if run.step % run.per_epoch == 0:
        run.sums.zero_()
    started_s = reported_s = clock()
    first, end = run.step, (epoch + 1) * run.per_epoch

    def progress() -> Step:
        run.need_numbers()
        steps = run.step - epoch * run.per_epoch
        loss, right = (total / steps for total in run.sums.tolist())
        return Step(
            epoch=epoch,
            step=run.step,
            steps=run.steps,
            loss=loss,
            accuracy=right / run.recipe.batch,
            learning_rate=run.learning_rate(),
            images_per_s=(run.step - first) * run.recipe.batch / max(1e-9, clock() - started_s),
        )

    while run.step < end:
        if stop():
            return None
        try:
            run.one_step(order)
        except RuntimeError as error:
            if not is_compile_error(error):
                raise
            if stop():
                return None  # Ctrl-C ends the compilers of its terminal too
            raise TrainingError(
                f"the net cannot be compiled: {why(error)}; the last state, if there was one, "
                "was kept; accepted: without --compile"
            ) from error
        if run.step < end and clock() - reported_s >= REPORT_S:
            report(progress())
            reported_s = clock()
    done = progress()  # before the holdout is read, which takes time too
    guessed = probabilities(run.ema, held, run.recipe.field_px, "flip", run.device)
    done = replace(done, holdout=accuracy(guessed, held))
    report(done)
    return done


def _finish(
    run: Run,
    splits: dict[str, data.Faces],
    out: Path,
    commit: str,
    on_share: Callable[[float, str], None],
) -> Path:
    """Calibrate on the holdout, score, and write weights with their record."""
    net = run.half()
    recipe = run.recipe
    images = run.images.cpu().numpy()
    plain = {}
    views = {
        (name, tta): len(splits[name].files) * VIEW_COUNT[tta]
        for name in splits
        for tta in STATIC_TTA
    }
    read = 0
    for (name, tta), number in views.items():
        on_share(read / sum(views.values()), f"scoring {name}, {tta}")
        plain[name, tta] = probabilities(net, splits[name], recipe.field_px, tta, run.device)
        read += number
    weights = out / WEIGHTS
    record = checkpoint.Record(
        name=recipe.architecture,
        family="expression",
        architecture=recipe.architecture,
        options=recipe.options,
        labels=list(LABELS),
        input_px=FACE_PX,
        crop_px=recipe.field_px,
        normalisation="per_crop",
        data_set="FER2013 Training, less holdout, copies and blank images",
        data_sha256=run.data_sha256,
        recipe=asdict(recipe),
        seed=recipe.seed,
        commit=commit,
        computed=run.computes,
        learnt_from=run.learnt_from,
        activations=find_ranges(net, images, recipe.field_px, run.device),
        **figures(plain, splits, "ten_crop"),
    )
    checkpoint.save(weights, net, record, dtype=torch.float16)
    return weights
