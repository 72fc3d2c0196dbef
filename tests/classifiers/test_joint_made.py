"""How a joint is made: the search for its weights, the command, and what is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers.errors import CheckpointError, RecipeError
from classifiers.expression import LABELS, data, joint, provenance, weight_files
from classifiers.expression.classifier import ExpressionClassifier
from classifiers.expression.evaluation.measure import accuracy, classify, unknown_threshold
from classifiers.expression.joint import Joint, Member
from classifiers.expression.training.joining import find_weights, make
from classifiers.expression.training.recipe import JointRecipe, read
from classifiers.expression.tta import STATIC_TTA
from classifiers.expression.weight_files import shipped
from tests.classifiers.bars import write_bars
from tests.fer import load_split
from tests.inside import inside
from tests.nets import alike, save_pair

Capsys = pytest.CaptureFixture[str]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    return save_pair(tmp_path)


def spread(p: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.int64]:
    """Labels drawn from rows of probabilities."""
    labels: NDArray[np.int64] = (p.cumsum(1) > rng.random((len(p), 1))).argmax(1)
    return labels


def drawn(count: int, rng: np.random.Generator) -> NDArray[np.float64]:
    return rng.dirichlet(np.ones(7), count)


def test_noise_is_given_no_weight() -> None:
    rng = np.random.default_rng(0)
    good, noise = drawn(3000, rng), drawn(3000, rng)
    labels = spread(good, rng)
    for guessed, expected in (([good, noise], (1.0, 0.0)), ([noise, good], (0.0, 1.0))):
        assert find_weights(np.array(guessed, np.float32), labels, 0.05) == expected


@pytest.mark.parametrize("truth", [(0.2, 0.8), (0.5, 0.2, 0.3), (0.1, 0.2, 0.3, 0.4), (1.0,)])
def test_a_known_mixture_is_found(truth: tuple[float, ...]) -> None:
    """Labels drawn from a mixture: its weights are near, on the grid, and sum to one."""
    rng = np.random.default_rng(0)
    guessed = np.array([drawn(8000, rng) for _ in truth])
    labels = spread(np.tensordot(np.array(truth), guessed, 1), rng)
    found = find_weights(guessed.astype(np.float32), labels, 0.05)
    assert sum(found) == pytest.approx(1.0, abs=1e-9)
    assert np.array(found) / 0.05 == pytest.approx(np.rint(np.array(found) / 0.05), abs=1e-6)
    assert found == pytest.approx(truth, abs=0.051)


@pytest.mark.parametrize("parts", [3, 6, 7, 9])
def test_weights_that_have_no_end_in_decimals_are_read_again(tmp_path: Path, parts: int) -> None:
    """So many nets, each right where all others err, are given the same weight."""
    guessed = np.full((parts, parts, 7), 0.01, np.float32)
    guessed[range(parts), range(parts), 0] = 0.94
    found = find_weights(guessed, np.zeros(parts, np.int64), 1.0 / parts)
    assert set(found) == {round(1.0 / parts, 6)}
    members = tuple(Member(f"{index}.safetensors", "", share) for index, share in enumerate(found))
    path = tmp_path / "joint.json"
    joint.save(path, Joint("joint", members, alike(1.0), 0.3, "holdout", "none", "", {}, ""))
    assert joint.read(path).members == members


@pytest.fixture(scope="module")
def fer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bars(tmp_path_factory.mktemp("fer"), train=40, public=3)


def test_a_joint_is_made_by_one_command(
    fer: Path, pair: Path, capsys: Capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    1. Two nets become a joint, one named as shipped; what each had alone is printed.
    2. Everything it needs lies in its folder, which may be moved.
    3. It reads as its record says, and what it was found on is written down.
    """
    folder = pair.parent
    monkeypatch.setattr(weight_files, "SHIPPED", folder)
    recipe, out = folder / "joint.toml", folder / "out"
    other = folder / "b.safetensors"
    recipe.write_text(f'architecture = "joint"\nmembers = ["a", "{other}"]\nstep = 0.25\n')
    where: list[str | Path] = ["--recipe", recipe, "--data", fer, "--out", out]
    done = inside(capsys, "train", "expression", *where)
    assert done.code == 0, done.err
    assert done.err[-1] == f"Weights: {out / 'joint.json'}"
    table = [line.split() for line in done.err[-4:-1]]
    again = inside(capsys, "train", "expression", *where)
    assert again.code == 2
    assert again.err[-1] == f"affectd: {out} holds a joint already; accepted: another --out"
    moved = out.rename(folder / "moved")
    monkeypatch.undo()

    found = joint.read(moved / "joint.json")
    both = ExpressionClassifier.load(moved / "joint.json")
    names = [ExpressionClassifier.load(folder / f"{name}.safetensors").name for name in "ab"]
    assert [row[0] for row in table] == [*names, both.name]
    assert {member.net for member in found.members} <= {"a.safetensors", f"{names[1]}.safetensors"}
    assert sum(float(row[1]) for row in table[:2]) == pytest.approx(1.0)
    assert [float(row[1]) for row in table[:2] if float(row[1])] == [
        member.weight for member in found.members
    ]
    assert found.split == "holdout"
    assert found.data_sha256 == data.read(fer).fingerprint()
    assert found.recipe["members"] == ["a", str(other)]
    held = load_split(fer, "holdout")
    assert found.unknown_below == unknown_threshold(classify(both, held), held.labels)
    for split, there in (("holdout", held), ("public", load_split(fer, "public"))):
        assert found.scores[f"{split}_ten_crop"] == pytest.approx(
            accuracy(classify(both, there), there), abs=1e-5
        )
    assert set(found.scores) == {
        f"{split}_{tta}" for split in ("holdout", "public") for tta in STATIC_TTA
    }


def test_only_the_holdout_is_looked_at(fer: Path, pair: Path, tmp_path: Path) -> None:
    """With another PublicTest everything that is found stays; only its scores do not."""
    nets = tuple(str(pair.parent / f"{name}.safetensors") for name in "ab")
    recipe = JointRecipe("joint", nets, 0.05, "none")
    other = tmp_path / "other"
    other.mkdir()
    (other / "train").symlink_to(fer / "train")
    for label, number in zip(LABELS, (1, 2, 3, 5, 6, 7, 8), strict=True):
        (other / "test" / label).mkdir(parents=True)
        face = next((fer / "test" / label).iterdir())
        for item in range(number):
            shutil.copy(face, other / "test" / label / f"PublicTest_{item}.jpg")
    found = []
    for number, source in enumerate((fer, other)):
        make(recipe, source, tmp_path / str(number))
        found.append(joint.read(tmp_path / str(number) / "joint.json"))
    assert replace(found[0], scores={}) == replace(found[1], scores={})
    same = {key for key, share in found[0].scores.items() if found[1].scores[key] == share}
    assert same == {f"holdout_{tta}" for tta in STATIC_TTA}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "members is None; accepted is a list of nets"),
        ("members = []", r"members is \[\]; accepted is a list of nets"),
        ('members = "default"', "members is 'default'; accepted is a list"),
        ('members = ["best"]', "a member is 'best'; accepted: the name of a shipped net"),
        ('members = ["default"]\nstpe = 0.1', "stpe is unknown; did you mean step"),
        ('members = ["default"]\nstep = 0.3', "step is 0.3; accepted is 1 divided by"),
        ('members = ["default"]\nstep = 0', "step is 0.0; accepted is 1 divided by"),
        ('members = ["default"]\nstep = "x"', "step is 'x'; accepted is a float"),
        (
            'members = ["default"]\ntta = "all"',
            "tta is 'all'; accepted: none, flip, scales, ten",
        ),
        ('members = ["default"]\ntta = "temporal"', "tta is 'temporal'; accepted: none, flip"),
        (f"members = {['default'] * 9}", "9 members in steps of 0.05 give 3108105 mixtures"),
    ],
)
def test_a_wrong_recipe_is_named_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(f'architecture = "joint"\n{text}')
    with pytest.raises((RecipeError, CheckpointError), match=said) as caught:
        read(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.parametrize(
    ("members", "more", "said"),
    [
        ('["none.safetensors"]', [], "none.safetensors: its record none.json is missing"),
        ('["default"]', ["--resume"], "recipe.toml: a joint is made in one go, without --resume"),
        ('["default"]', ["--max-minutes", "3"], "recipe.toml: a joint is made in one go, without"),
    ],
)
def test_a_joint_that_cannot_be_made_says_why(
    tmp_path: Path, fer: Path, capsys: Capsys, members: str, more: list[str], said: str
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'architecture = "joint"\nmembers = {members}\n')
    where: list[str | Path] = ["--recipe", recipe, "--data", fer, "--out", tmp_path / "out"]
    done = inside(capsys, "train", "expression", *where, *more)
    assert done.code == 2
    assert said in done.err[-1]


def trained_on(weights: Path, fingerprint: str) -> None:
    path = weights.with_suffix(".json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "data_sha256": fingerprint}))


def test_a_net_of_other_data_is_told(tmp_path: Path, fer: Path, pair: Path, capsys: Capsys) -> None:
    """Its own Training may be most of the holdout that the weights are found on."""
    known = data.read(fer).fingerprint()
    nets = [pair.parent / "a.safetensors", pair.parent / "b.safetensors"]
    trained_on(nets[0], known)
    trained_on(nets[1], "f" * 64)
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(f'architecture = "joint"\nmembers = {list(map(str, nets))}\n')
    where: list[str | Path] = ["--recipe", recipe, "--data", fer, "--out", tmp_path / "out"]
    done = inside(capsys, "train", "expression", *where)
    assert done.code == 0
    told = [line for line in done.err if line.startswith("WARNING")]
    assert told == [
        f"WARNING: {nets[1]} was trained on data whose fingerprint begins with fffffff, that of "
        f"--data begins with {known[:7]}. If both are copies of the same faces, it has learnt most "
        "of this holdout, and what is found on it flatters"
    ]


def test_shipped_nets_are_of_one_data_set() -> None:
    """The joint of them is made again by its recipe, which warns of others."""
    known = json.loads((weight_files.SHIPPED / "joint.json").read_text())["data_sha256"]
    assert not any(provenance.warning(weights, known) for weights in shipped())
