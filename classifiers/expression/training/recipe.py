"""A recipe, of a net or of a joint: one TOML file that says all a run depends on but the data."""

from __future__ import annotations

import inspect
import math
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import torch

from classifiers.errors import RecipeError, first_line
from classifiers.expression import StaticTTA
from classifiers.expression.architectures import ARCHITECTURES
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.weight_files import locate_member

RANGES = {
    "epochs": (1, math.inf),
    "batch": (2, math.inf),
    "field_px": (32, 47),
    "out_px": (32, 47),
    "temperature": (0.05, 20.0),
    "seed": (0, 2**40),
    "scale": (0, 0.9),
    "rotate_deg": (0, 180),
    **dict.fromkeys(("shift", "clip", "aspect"), (0, 1)),
    "gamma": (0, 5),
    "ema_decay": (0, 0.9999),  # at 1 the average would be the first step for ever
    **dict.fromkeys(
        ("momentum", "label_smoothing", "start", "strength", "share", "degrade", "erase"), (0, 1)
    ),
}
"""Least and greatest of each number by its key; of those not named, any from 0 on."""

MOST_MIXTURES = 200_000


@dataclass(frozen=True)
class Stage:
    """From this fraction of all epochs on, faces are drawn with this many pixels, and changed by
    this share of `augmentation`: at last by less, since plain faces are what is read in the end.
    """

    start: float
    out_px: int
    strength: float = 1.0


@dataclass(frozen=True)
class Distillation:
    """Learn from a trained net as well as from the labels (Hinton et al., arXiv:1503.02531).

    teacher: what `expression.weights` accepts. share: how much of each target is the teacher's.
    views: `same`, where the teacher reads each augmented face that the net sees (Beyer et al.,
    arXiv:2106.05237), or `ten_crop`, where it reads each untouched face once, before training.
    """

    teacher: str
    share: float = 0.7
    temperature: float = 1.5
    views: Literal["same", "ten_crop"] = "same"


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of one run; see config/train/ for commented files.

    optimizer: `sgd`, or `muon` for the convolutions and SGD for the rest (see `optimizers.Muon`).
    mixup: parameter of the beta distribution that pairs of faces are blended by, 0 for none
    (Zhang et al., arXiv:1710.09412). start: weights to begin with instead of random ones, what
    `expression.weights` accepts; see `widen.begin_with`.
    """

    architecture: str
    epochs: int
    options: dict[str, Any] = field(default_factory=dict)
    batch: int = 128
    optimizer: Literal["sgd", "muon"] = "sgd"
    learning_rate: float = 0.1
    weight_decay: float = 5e-4
    momentum: float = 0.9
    warmup_epochs: float = 1.0
    loss: Literal["cross_entropy", "adaptive"] = "cross_entropy"
    label_smoothing: float = 0.05
    ema_decay: float = 0.998
    seed: int = 1
    field_px: int = 44
    stages: tuple[Stage, ...] = (Stage(0.0, 44),)
    augmentation: Augmentation = field(default_factory=Augmentation)
    mixup: float = 0.0
    start: str = ""
    distillation: Distillation | None = None

    def stage(self, epoch: int) -> Stage:
        """What `epoch` is drawn by (Howard's progressive resizing)."""
        done = epoch / self.epochs
        return [stage for stage in self.stages if stage.start <= done][-1]


@dataclass(frozen=True)
class JointRecipe:
    """Which nets are joined, the step between the weights that are tried, and the views.

    members: names of shipped nets, or paths of .safetensors files.
    """

    architecture: Literal["joint"]
    members: tuple[str, ...]
    step: float = 0.05
    tta: StaticTTA = "ten_crop"


def differences(stored: dict[str, Any], now: Recipe) -> str:
    """What a state's recipe says otherwise: "batch was 96, is 128"; empty if they are the same.

    stored: `asdict` of a recipe, in which keys that came later may be missing. Raises TypeError,
    ValueError or LookupError for what is none.
    """
    taught = stored["distillation"]
    was = Recipe(
        **{
            **stored,
            "stages": tuple(Stage(**stage) for stage in stored["stages"]),
            "augmentation": Augmentation(**stored["augmentation"]),
            "distillation": taught and Distillation(**taught),
        }
    )
    return ", ".join(_differences(was, now))


def _differences(was: Any, now: Any, where: str = "") -> Iterator[str]:
    for one in fields(now):
        before, after = getattr(was, one.name), getattr(now, one.name)
        if is_dataclass(before) and is_dataclass(after):
            yield from _differences(before, after, f"{where}{one.name}.")
        elif before != after:
            yield f"{where}{one.name} was {before!r}, is {after!r}"


def read(path: Path) -> Recipe | JointRecipe:
    """Read and check a recipe, of a net or of a joint.

    Raises RecipeError, or CheckpointError for a joint's member, naming the file, the key and what
    is accepted.
    """
    content = _read_toml(path)
    joint = content.get("architecture") == "joint"
    return _joint(content, path) if joint else _net(content, path)


def read_net(path: Path) -> Recipe:
    """`read` where only a net will do."""
    recipe = read(path)
    if not isinstance(recipe, Recipe):
        raise RecipeError(f"{path}: is that of a joint; accepted is the recipe of a net")
    return recipe


def _net(content: dict[str, Any], path: Path) -> Recipe:
    recipe: Recipe = fill(Recipe, content, f"{path}: ")
    if recipe.architecture not in ARCHITECTURES:
        raise RecipeError(
            f"{path}: architecture is {recipe.architecture!r}; "
            f"accepted: {', '.join(ARCHITECTURES)}, joint"
        )
    accepted = inspect.signature(ARCHITECTURES[recipe.architecture]).parameters
    for option in recipe.options:
        if option not in accepted:
            raise RecipeError(
                f"{path}: options.{option} is unknown; accepted: {', '.join(accepted)}"
            )
    if recipe.warmup_epochs > recipe.epochs:
        raise RecipeError(
            f"{path}: warmup_epochs is {recipe.warmup_epochs:g}; "
            f"accepted: 0 to the number of epochs, {recipe.epochs}"
        )
    starts = [stage.start for stage in recipe.stages]
    if starts[:1] != [0.0] or starts != sorted(starts):
        raise RecipeError(f"{path}: stages start at {starts}; accepted are rising ones from 0.0 on")
    try:
        with torch.device("meta"), torch.inference_mode():  # shapes without memory
            net = ARCHITECTURES[recipe.architecture](**recipe.options).eval()
            for px in (recipe.field_px, *(stage.out_px for stage in recipe.stages)):
                net(torch.empty(2, 1, px, px))
    except (TypeError, ValueError, RuntimeError, IndexError) as error:
        raise RecipeError(
            f"{path}: options {recipe.options} make no {recipe.architecture}: {first_line(error)}"
        ) from error
    return recipe


def _joint(content: dict[str, Any], path: Path) -> JointRecipe:
    members = content.get("members")
    if not isinstance(members, list) or not members or not all(type(m) is str for m in members):
        raise RecipeError(
            f"{path}: members is {members!r}; accepted is a list of nets, each the name of a "
            "shipped one or the path of a .safetensors file"
        )
    for member in members:
        locate_member(member, Path(), f"{path}: ")
    recipe: JointRecipe = fill(JointRecipe, {**content, "members": tuple(members)}, f"{path}: ")
    if not 0.0 < recipe.step <= 1.0 or abs(round(1.0 / recipe.step) * recipe.step - 1.0) > 1e-6:
        raise RecipeError(
            f"{path}: step is {recipe.step}; accepted is 1 divided by a whole number, such as 0.05"
        )
    mixtures = math.comb(round(1.0 / recipe.step) + len(members) - 1, len(members) - 1)
    if mixtures > MOST_MIXTURES:
        raise RecipeError(
            f"{path}: {len(members)} members in steps of {recipe.step} give {mixtures} mixtures; "
            f"accepted are at most {MOST_MIXTURES}: take a larger step"
        )
    return recipe


def _read_toml(path: Path) -> dict[str, Any]:
    """The table that a recipe is. Raises RecipeError for a file that is none."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:  # also of a number of thousands of digits
        raise RecipeError(f"{path}: not a readable recipe: {error}") from error


def fill(kind: Any, content: dict[str, Any], where: str) -> Any:
    """Make the dataclass `kind` from a table of TOML; `where` begins each RecipeError's text."""
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]
    values: dict[str, Any] = {}
    for key, value in content.items():
        if key not in hints:
            near = get_close_matches(key, names, 1)
            hint = f"; did you mean {near[0]}?" if near else f"; accepted: {', '.join(names)}"
            raise RecipeError(f"{where}{key} is unknown{hint}")
        wanted = hints[key]
        if type(None) in get_args(wanted):  # `X | None`: absent means None
            wanted = get_args(wanted)[0]
        if wanted is float and type(value) is int:
            try:
                value = float(value)
            except OverflowError:
                value = math.inf
        if (is_dataclass(wanted) or get_origin(wanted) is dict) and not isinstance(value, dict):
            raise RecipeError(f"{where}{key} is {value!r}; accepted is a table")
        if is_dataclass(wanted):
            value = fill(wanted, value, f"{where}{key}.")
        elif key == "stages":
            if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
                raise RecipeError(f"{where}{key} is {value!r}; accepted is a list of tables")
            value = tuple(fill(Stage, item, f"{where}{key}.") for item in value)
        elif get_origin(wanted) is Literal:
            if value not in get_args(wanted):
                accepted = ", ".join(get_args(wanted))
                raise RecipeError(f"{where}{key} is {value!r}; accepted: {accepted}")
        elif wanted in (int, float, str) and type(value) is not wanted:
            raise RecipeError(f"{where}{key} is {value!r}; accepted is a {wanted.__name__}")
        if type(value) in (int, float):
            least, most = RANGES.get(key, (0.0, math.inf))
            if not least <= value <= most or value == math.inf:
                finite = f"a finite number, at least {least:g}"
                accepted = finite if most == math.inf else f"{least:g} to {most:g}"
                raise RecipeError(f"{where}{key} is {value!r}; accepted: {accepted}")
        values[key] = value
    for one in fields(kind):
        if one.default is MISSING and one.default_factory is MISSING and one.name not in values:
            raise RecipeError(f"{where}{one.name} is missing")
    return kind(**values)
