"""Weights on disk: which file a name means, and what it stands for, a net or a joint."""

from __future__ import annotations

from pathlib import Path

from classifiers import checkpoint
from classifiers.checkpoint import Record
from classifiers.errors import CheckpointError
from classifiers.expression import joint
from classifiers.expression.joint import Joint

SHIPPED = Path(__file__).parent / "weights"


def shipped() -> dict[str, Path]:
    """The weights that came with the package by name: a net's .safetensors, a joint's .json."""
    nets = {path.stem: path for path in SHIPPED.glob("*.safetensors")}
    return dict(sorted({**{path.stem: path for path in SHIPPED.glob("*.json")}, **nets}.items()))


def locate(weights: str | Path) -> Path:
    """The file that a name or a path means. Raises CheckpointError for what is neither."""
    path = shipped().get(str(weights), Path(weights))
    if path.suffix not in (".safetensors", ".json"):
        raise CheckpointError(
            f"{str(weights)!r} is no net; accepted: {', '.join(shipped())}, "
            "or the path of a net's .safetensors or a joint's .json"
        )
    return path


def locate_member(net: str, folder: Path, where: str) -> Path:
    """The file of one net of a joint: a shipped name, or a path seen from `folder`.

    Raises CheckpointError, beginning with `where`, for what is neither.
    """
    path = shipped().get(net, folder / net)
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"{where}a member is {net!r}; accepted: the name of a shipped net, "
            "or the path of a .safetensors file"
        )
    return path


def record_of(file: Path) -> Record | Joint:
    """That of a net, or of a joint. Raises CheckpointError where it cannot be read."""
    return joint.read(file) if file.suffix == ".json" else checkpoint.read_record(file)


def nets_of(file: Path) -> list[Path]:
    """The nets that weights stand for: the file itself, or a joint's members of weight above 0.

    Raises CheckpointError for a joint that cannot be read.
    """
    if file.suffix != ".json":
        return [file]
    members = [member for member in joint.read(file).members if member.weight > 0.0]
    return [locate_member(member.net, file.parent, f"{file}: ") for member in members]
