"""Recipes of training as they are read: wrong ones, and those that come with affectd."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest

from classifiers.errors import RecipeError
from classifiers.expression.training.recipe import (
    Distillation,
    Recipe,
    Stage,
    differences,
    read,
    read_net,
)
from tests.bench.train_step import first_epoch


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('architecture = "vgg10"\nepochs = 2\nlearnin_rate = 0.1', "did you mean learning_rate"),
        ('architecture = "vgg11"\nepochs = 2', "accepted: vgg10"),
        ('architecture = "vgg10"\nepochs = "2"', "epochs is '2'; accepted is a int"),
        ('architecture = "vgg10"', "epochs"),
        (
            'architecture = "vgg10"\nepochs = 2\noptimizer = "adam"',
            "optimizer is 'adam'; accepted: sgd, muon",
        ),
        ('architecture = "vgg10"\nepochs = 0', "at least 1"),
        ("architecture =", "not a readable recipe"),
        ("epochs = " + "9" * 5000, "not a readable recipe"),
        ("epochs = " + "[" * 5000, "not a readable recipe"),
        (
            'architecture = "vgg10"\nepochs = 2\noptions = { width = 3 }',
            "options.width is unknown; accepted: widths, hidden, dropout",
        ),
        ('architecture = "vgg10"\nepochs = 2\noptions = 3', "options is 3; accepted is a table"),
        ('architecture = "vgg10"\nepochs = 2\naugmentation = 3', "augmentation is 3; accepted is"),
        (
            'architecture = "vgg10"\nepochs = 2\ndistillation = "joint"',
            "distillation is 'joint'; accepted is a table",
        ),
        ('architecture = "vgg10"\nepochs = 2\nstages = 44', "stages is 44; accepted is a list of"),
        ('architecture = "vgg10"\nepochs = 2\nstages = [44]', r"stages is \[44\]; accepted is a"),
        (
            'architecture = "vgg10"\nepochs = 2\noptions = { widths = [8, 16, 32] }',
            r"options {'widths': \[8, 16, 32\]} make no vgg10: ",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\noptions = { widths = [8, 8, 8, 8, 8] }',
            r"options {'widths': \[8, 8, 8, 8, 8\]} make no vgg10: ",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\nseed = 20261120120000',
            "seed is 20261120120000; acc",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\n'
            "stages = [{ start = 0.0, out_px = 40 }, { start = 0.6, out_px = 44 },"
            " { start = 0.3, out_px = 42 }]",
            r"stages start at \[0.0, 0.6, 0.3\]; accepted are rising ones from 0.0 on",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\nema_decay = 1.0',
            "ema_decay is 1.0; accepted: 0 to 0.9999",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\n[augmentation]\nscale = 1.0',
            "augmentation.scale is 1.0; accepted: 0 to 0.9",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\nmixup = inf',
            "mixup is inf; accepted: a finite number, at least 0",
        ),
        ('architecture = "vgg10"\nepochs = 2\nmixup = 1' + "0" * 400, "mixup is inf; accepted"),
        (
            'architecture = "vgg10"\nepochs = 2\n[augmentation]\nrotate_deg = 181',
            "augmentation.rotate_deg is 181.0; accepted: 0 to 180",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\nwarmup_epochs = 3',
            "warmup_epochs is 3; accepted: 0 to the number of epochs, 2",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\n[distillation]\nshare = 0.5',
            "distillation.teacher is missing",
        ),
        (
            'architecture = "vgg10"\nepochs = 2\n[augmentation]\nzoom = 1.0',
            "augmentation.zoom is unknown; accepted: rotate_deg",
        ),
    ],
)
def test_a_wrong_recipe_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    with pytest.raises(RecipeError, match=said) as caught:
        read(path)
    assert "recipe.toml" in str(caught.value)


def test_what_a_stored_recipe_says_otherwise() -> None:
    """Not an order of keys, nor a key that is missing because it came later."""
    plan = Recipe("vgg10", 4, {"widths": [4, 4, 8, 8], "hidden": 8}, mixup=0.2)
    stored = asdict(plan)
    assert differences(stored, plan) == ""
    older = {**stored, "augmentation": {**stored["augmentation"]}}
    del older["momentum"], older["augmentation"]["aspect"]
    assert differences(older, plan) == ""
    assert differences(stored, replace(plan, options={"hidden": 8, "widths": [4, 4, 8, 8]})) == ""
    now = replace(
        plan, batch=96, stages=(Stage(0.0, 40),), augmentation=replace(plan.augmentation, clip=0.3)
    )
    assert differences(stored, now) == (
        "batch was 128, is 96, stages was (Stage(start=0.0, out_px=44, strength=1.0),), "
        "is (Stage(start=0.0, out_px=40, strength=1.0),), augmentation.clip was 0.15, is 0.3"
    )
    taught = replace(plan, distillation=Distillation("joint"))
    assert differences(stored, taught).startswith("distillation was None, is Distillation(")
    other = replace(plan, distillation=Distillation("joint", share=0.5))
    assert differences(asdict(taught), other) == "distillation.share was 0.7, is 0.5"


def test_a_recipe_may_have_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text('\ufeffarchitecture = "vgg10"\nepochs = 2', encoding="utf-8")
    assert read_net(path).epochs == 2


def test_every_recipe_in_the_tree_is_valid() -> None:
    recipes = sorted((Path(__file__).parents[2] / "config" / "train").rglob("*.toml"))
    assert recipes
    for path in recipes:
        read(path)


def test_a_stage_is_measured_in_an_epoch_of_its_own() -> None:
    """One begins between two epochs, one where the next takes its place at once."""
    stages = tuple(Stage(start, 44) for start in (0.0, 0.25, 0.6, 0.62, 0.7))
    recipe = Recipe("vgg10", 9, stages=stages)
    assert [first_epoch(recipe, stage) for stage in stages] == [0, 3, None, 6, 7]
