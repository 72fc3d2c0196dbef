"""Several nets as one: how they are mixed, how the mixture is found, and what can be wrong."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from classifiers import checkpoint
from classifiers.errors import CheckpointError, RecipeError
from classifiers.expression import LABELS, classifier, data, joint
from classifiers.expression.classifier import ExpressionClassifier, shipped
from classifiers.expression.evaluation.measure import accuracy, classify, unknown_threshold
from classifiers.expression.joint import Joint, Member
from classifiers.expression.training import provenance
from classifiers.expression.training.joint import JointRecipe, find_weights, make, read
from classifiers.expression.tta import STILL
from tests.classifiers.bars import write_bars
from tests.inside import inside
from tests.nets import save_tiny

Capsys = pytest.CaptureFixture[str]
Faces = NDArray[np.uint8]


def save_joint(path: Path, weights: dict[str, float], temperature: float = 1.0) -> Path:
    """A joint of the nets that lie beside it, by file name."""
    members = tuple(
        Member(net, checkpoint.read_record(path.parent / net).sha256, weight)
        for net, weight in weights.items()
    )
    found = Joint("joint", members, temperature, 0.3, "holdout", "none", "", {}, "abc1234")
    joint.save(path, found)
    return path


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    """A joint of two nets that differ in all that nets can differ in; its path."""
    save_tiny(tmp_path / "a.safetensors", seed=1, temperature=1.5)
    wider = {"widths": [4, 8, 8, 8], "hidden": 16, "dropout": 0.0}
    save_tiny(tmp_path / "b.safetensors", seed=2, temperature=0.7, crop_px=40, options=wider)
    return save_joint(tmp_path / "joint.json", {"a.safetensors": 0.3, "b.safetensors": 0.7}, 0.8)


@pytest.fixture
def faces() -> Faces:
    return np.random.default_rng(1).integers(0, 256, (5, 48, 48), dtype=np.uint8)


def load(weights: str | Path) -> ExpressionClassifier:
    return ExpressionClassifier.load(weights, device="cpu")


def edit(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# --- reading ---------------------------------------------------------------------------------


def test_a_joint_of_one_is_that_net(tmp_path: Path, faces: Faces) -> None:
    net = save_tiny(tmp_path / "a.safetensors", temperature=1.5)
    alone = load(save_joint(tmp_path / "joint.json", {"a.safetensors": 1.0}))
    assert np.array_equal(alone.predict(faces), load(net).predict(faces))
    assert alone.crops == 10


def test_a_joint_is_the_weighted_sum_calibrated(pair: Path, faces: Faces) -> None:
    a, b = (load(pair.parent / name).predict(faces) for name in ("a.safetensors", "b.safetensors"))
    powers = (0.3 * a.astype(np.float64) + 0.7 * b) ** (1.0 / 0.8)
    both = load(pair)
    assert both.predict(faces) == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-5)
    assert both.labels == LABELS
    assert both.unknown_below == 0.3
    assert both.name == f"joint-{joint.read(pair).sha256[:7]}"


def test_the_views_may_change_and_hold_for_all_nets(pair: Path, faces: Faces) -> None:
    both = load(pair)
    assert both.crops == 20
    both.tta = "none"
    assert both.crops == 2
    fresh = ExpressionClassifier.load(pair, device="cpu", tta="none")
    assert np.array_equal(both.predict(faces), fresh.predict(faces))


def test_a_net_that_counts_nothing_is_not_run(pair: Path, faces: Faces) -> None:
    weights = {"a.safetensors": 0.0, "b.safetensors": 1.0}
    both = load(save_joint(pair, weights))
    assert both.crops == 10
    assert np.array_equal(both.predict(faces), load(pair.parent / "b.safetensors").predict(faces))


def test_a_joint_comes_back_as_it_was_saved(pair: Path) -> None:
    found = joint.read(pair)
    joint.save(pair, found)
    assert joint.read(pair) == found
    assert found.members[1].weight == 0.7


def test_a_full_disk_leaves_a_joint_as_it_was(pair: Path) -> None:
    before = pair.read_bytes()
    (pair.parent / ".joint.json.part").symlink_to("/dev/full")
    with pytest.raises(CheckpointError, match=r"joint\.json: cannot be written: No space left"):
        joint.save(pair, replace(joint.read(pair), temperature=2.0))
    assert pair.read_bytes() == before


def test_its_name_tells_joints_apart_but_not_places(pair: Path) -> None:
    found = joint.read(pair)
    a, b = found.members
    assert replace(found, members=(replace(a, net="x.safetensors"), b)).sha256 == found.sha256
    others = [
        replace(found, temperature=0.9),
        replace(found, members=(replace(a, weight=0.4), replace(b, weight=0.6))),
        replace(found, members=(replace(a, sha256="0" * 64), b)),
    ]
    assert len({other.sha256 for other in [found, *others]}) == 4


def test_a_joint_is_shipped_beside_its_nets(
    pair: Path, faces: Faces, monkeypatch: pytest.MonkeyPatch, capsys: Capsys
) -> None:
    """Its nets too are named, and it may name them so."""
    expected = load(pair).predict(faces)
    monkeypatch.setattr(classifier, "SHIPPED", pair.parent)
    assert list(shipped()) == ["a", "b", "joint"]
    edit(pair, lambda content: content["members"][0].update(net="a"))
    assert np.array_equal(load("joint").predict(faces), expected)
    done = inside(capsys, "models", "list")
    assert [line.split() for line in done.out if line.startswith("expression joint")] == [
        ["expression", "joint", "shipped", "joint.json"]
    ]


def remove(name: str) -> Callable[[Path], None]:
    return lambda path: (path.parent / name).unlink()


def content(change: Callable[[Any], None]) -> Callable[[Path], None]:
    return lambda path: edit(path, change)


def member(**changes: object) -> Callable[[Path], None]:
    return content(lambda found: found["members"][1].update(changes))


def another_net(path: Path) -> None:
    save_tiny(path.parent / "b.safetensors", seed=5)


def other_labels(path: Path) -> None:
    edit(path.parent / "b.json", lambda found: found.update(labels=["happy", "sad"]))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (remove("joint.json"), r"joint\.json: no such joint"),
        (remove("b.safetensors"), r"joint\.json: .*b\.safetensors: no such weights file"),
        (remove("b.json"), r"joint\.json: .*b\.safetensors: its record b\.json is missing"),
        (another_net, r"joint\.json and its member .*b\.safetensors do not fit: .* SHA-256"),
        (other_labels, r"joint\.json: .*b\.json: labels are happy, sad; accepted: angry"),
        (lambda path: path.write_text("{"), r"joint\.json: not a readable joint"),
        (lambda path: path.write_text("[]"), r"joint\.json: not a joint of nets; .* not an object"),
        (content(lambda found: found.update(wieght=1)), r"unknown: \['wieght'\]"),
        (content(lambda found: found.pop("temperature")), r"missing or unknown: \['temperature'\]"),
        (content(lambda found: found.update(temperature=0)), r"temperature is 0; accepted: 0\.01"),
        (content(lambda found: found.update(unknown_below="x")), r"unknown_below is 'x'; accepted"),
        (content(lambda found: found.update(members=[])), r"members is \[\]; accepted is a list"),
        (member(weight=0.6), r"joint\.json: the members' weights sum to 0\.9; accepted is 1"),
        (member(weight=-0.7), r"joint\.json: members\[1\]\.weight is -0\.7; accepted: 0 to 1"),
        (member(weight=True), r"members\[1\]\.weight is True"),
        (member(weight=float("nan")), r"members\[1\]\.weight is nan"),
        (member(wait=1), r"joint\.json: members\[1\] is no member; .*\['wait'\]"),
        (member(net=3), r"members\[1\]\.net is 3; accepted is a text"),
        (member(net="best"), r"joint\.json: a member is 'best'; accepted: the name of a shipped"),
        (member(net="joint.json"), r"joint\.json: a member is 'joint\.json'; accepted"),
    ],
)
def test_a_joint_that_cannot_be_used_is_named(
    pair: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(pair)
    with pytest.raises(CheckpointError, match=said):
        load(pair)


# --- finding the weights -----------------------------------------------------------------------


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
    joint.save(path, Joint("joint", members, 1.0, 0.3, "holdout", "none", "", {}, ""))
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
    monkeypatch.setattr(classifier, "SHIPPED", folder)
    recipe, out = folder / "joint.toml", folder / "out"
    other = folder / "b.safetensors"
    recipe.write_text(f'architecture = "joint"\nmembers = ["a", "{other}"]\nstep = 0.25\n')
    where: list[str | Path] = ["--recipe", recipe, "--data", fer, "--out", out]
    done = inside(capsys, "train", "expression", *where)
    assert done.code == 0, done.err
    assert done.err[-1] == f"Weights: {out / 'joint.json'}"
    table = [line.split() for line in done.err[-4:-1]]
    moved = out.rename(folder / "moved")
    monkeypatch.undo()

    found = joint.read(moved / "joint.json")
    both = load(moved / "joint.json")
    names = [load(folder / f"{name}.safetensors").name for name in "ab"]
    assert [row[0] for row in table] == [*names, both.name]
    assert {member.net for member in found.members} <= {"a.safetensors", f"{names[1]}.safetensors"}
    assert sum(float(row[1]) for row in table[:2]) == pytest.approx(1.0)
    assert [float(row[1]) for row in table[:2] if float(row[1])] == [
        member.weight for member in found.members
    ]
    assert found.split == "holdout"
    assert found.data_sha256 == data.read(fer).fingerprint()
    assert found.recipe["members"] == ["a", str(other)]
    held = data.load(fer, "holdout")
    assert found.unknown_below == unknown_threshold(classify(both, held), held.labels)
    for split, there in (("holdout", held), ("public", data.load(fer, "public"))):
        assert found.scores[f"{split}_ten_crop"] == pytest.approx(
            accuracy(classify(both, there), there), abs=1e-5
        )
    assert set(found.scores) == {
        f"{split}_{tta}" for split in ("holdout", "public") for tta in STILL
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
    assert same == {f"holdout_{tta}" for tta in STILL}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "members is None; accepted is a list of nets"),
        ("members = []", r"members is \[\]; accepted is a list of nets"),
        ('members = "default"', "members is 'default'; accepted is a list"),
        ('members = ["best"]', "a member is 'best'; accepted: the name of a shipped net"),
        ('members = ["default"]\nstpe = 0.1', "unknown key stpe; did you mean step"),
        ('members = ["default"]\nstep = 0.3', "step is 0.3; accepted is 1 divided by"),
        ('members = ["default"]\nstep = 0', "step is 0.0; accepted is 1 divided by"),
        ('members = ["default"]\nstep = "x"', "step is 'x'; accepted is a float"),
        (
            'members = ["default"]\ntta = "all"',
            "tta is 'all'; accepted: none, flip, four_crop, ten",
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


def test_a_net_of_other_data_is_told(tmp_path: Path, fer: Path, pair: Path, capsys: Capsys) -> None:
    """Its own Training may be most of the holdout that the weights are found on."""
    known = data.read(fer).fingerprint()
    nets = [pair.parent / "a.safetensors", pair.parent / "b.safetensors"]
    edit(nets[0].with_suffix(".json"), lambda record: record.update(data_sha256=known))
    edit(nets[1].with_suffix(".json"), lambda record: record.update(data_sha256="f" * 64))
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
    known = json.loads((classifier.SHIPPED / "joint.json").read_text())["data_sha256"]
    assert not any(provenance.warning(weights, known) for weights in shipped())


# --- the daemon ----------------------------------------------------------------------------------


def test_the_commands_take_a_joint(fer: Path, pair: Path, capsys: Capsys) -> None:
    """1. `check` takes it. 2. `video` reads with it; each reading says so. 3. `evaluate` too."""
    folder = pair.parent
    config, readings = folder / "affectd.toml", folder / "read.jsonl"
    config.write_text(
        f'[detector]\nbackend = "haar"\n[expression]\nweights = "{pair}"\ntta = "flip"\n'
        'device = "cpu"\n[[stream]]\nname = "a"\nurl = "demo://a"\n'
    )
    assert inside(capsys, "check", config).code == 0
    source = "demo://x?faces=1&size=320x240&fps=5&seconds=2"
    where: list[str | Path] = ["--events", readings, "--config", config]
    assert inside(capsys, "video", source, folder / "out.mp4", *where).code == 0
    lines = [json.loads(line) for line in readings.read_text().splitlines()]
    assert lines
    assert {line["weights"] for line in lines} == {load(pair).name}
    assert {line["crops"] for line in lines} == {4}
    done = inside(
        capsys, "evaluate", "expression", "--data", fer, "--weights", pair, "--tta", "none"
    )
    assert done.code == 0, done.err
    assert any(load(pair).name in line for line in done.out)
