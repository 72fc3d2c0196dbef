"""The commented recipe, config/train/reference.toml, walked both ways against what is read."""

from __future__ import annotations

import inspect
import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, asdict, fields
from pathlib import Path
from typing import Any

import pytest

from classifiers.expression.architectures import ARCHITECTURES
from classifiers.expression.training.augment import Augmentation
from classifiers.expression.training.recipe import RANGES, Distillation, Recipe, Stage, read

REFERENCE = Path(__file__).parents[2] / "config" / "train" / "reference.toml"
TEXT = REFERENCE.read_text(encoding="utf-8")
WHOLE = re.sub(r"^#(?=[a-z\[])", "", TEXT, flags=re.MULTILINE)
TABLES = {"augmentation": Augmentation, "distillation": Distillation}


def default(one: Field[Any]) -> Any:
    if one.default_factory is not MISSING:
        return one.default_factory()
    return one.default


def written() -> Iterator[tuple[str, Field[Any], Any]]:
    """Every key that may stand in a recipe, and what stands in the reference."""
    content = tomllib.loads(WHOLE)
    for one in fields(Recipe):
        if one.name in TABLES:
            table = content.pop(one.name)
            for inner in fields(TABLES[one.name]):
                yield f"{one.name}.{inner.name}", inner, table.pop(inner.name)
            assert not table
        else:
            yield one.name, one, content.pop(one.name)
    assert not content


each = pytest.mark.parametrize(
    ("key", "one", "value"), [pytest.param(*each, id=each[0]) for each in written()]
)


@each
def test_every_key_stands_there_with_its_default(key: str, one: Field[Any], value: Any) -> None:
    line = re.search(rf"^(#?){one.name} = ", TEXT, re.MULTILINE)
    assert line
    if default(one) is MISSING:
        assert key in ("architecture", "epochs", "distillation.teacher")
        assert line[1] == ("#" if "." in key else "")
    elif key == "stages":
        assert value == [asdict(stage) for stage in default(one)]
    else:
        assert value == default(one)
        assert line[1] == "#"


@each
def test_every_number_says_what_is_accepted(key: str, one: Field[Any], value: Any) -> None:
    if type(value) not in (int, float):
        return
    least, most = RANGES.get(one.name, (0, math.inf))
    said = f"{least:g} or more" if most == math.inf else f"{least:g} to {most:.15g}"
    assert re.search(rf"^#?{one.name} = \S+ +# {re.escape(said)}$", TEXT, re.MULTILINE), said


def test_options_and_stages_are_told_in_words() -> None:
    for name, make in ARCHITECTURES.items():
        known = inspect.signature(make).parameters
        told = ", ".join(
            f"{key} = {list(value) if isinstance(value, tuple) else value}"
            for key, value in ((key, known[key].default) for key in known)
            if key != "blocks"
        )
        assert f"{{ {told} }}" in TEXT, name
    for one in fields(Stage):
        least, most = RANGES[one.name]
        assert re.search(rf"`{one.name}`, {least:g} to {most:g}\b", TEXT)


def test_the_reference_is_valid_as_it_is_and_uncommented(tmp_path: Path) -> None:
    assert asdict(read(REFERENCE)) == asdict(Recipe("vgg10", 40))
    whole = tmp_path / "whole.toml"
    whole.write_text(WHOLE)
    assert read(whole) == Recipe("vgg10", 40, distillation=Distillation("joint"))
