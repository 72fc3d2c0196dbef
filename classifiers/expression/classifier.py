"""The expression family as the daemon uses it: weights in, probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from classifiers import checkpoint
from classifiers.base import Reads
from classifiers.errors import CheckpointError
from classifiers.expression import LABELS
from classifiers.expression.models import ARCHITECTURES, build
from classifiers.expression.tta import CROPS, TTA, mean_probabilities

SHIPPED = Path(__file__).parent / "weights"


class ExpressionClassifier:
    """A trained expression net behind `classifiers.base.Classifier`.

    Reads uint8 grey faces [N, 48, 48] of the crop contract. One instance belongs to one thread.
    """

    reads: Reads = "face"

    def __init__(self, net: nn.Module, record: checkpoint.Record, *, device: str, tta: TTA) -> None:
        self.name = f"{record.name}-{record.sha256[:7]}"
        self.labels = tuple(record.labels)
        self.device = device
        self.unknown_below = record.unknown_below
        self.tta = tta
        self.record = record
        self._net = fuse(net.eval()).to(device).to(memory_format=torch.channels_last)

    @classmethod
    def load(
        cls,
        weights: str | Path = "default",
        *,
        device: Literal["auto", "cpu", "cuda"] = "auto",
        tta: TTA = "ten_crop",
    ) -> ExpressionClassifier:
        """Load shipped weights by name, or a .safetensors file by path.

        `auto` takes CUDA where there is one. Raises CheckpointError when the file or its
        record is missing, cut, or does not fit, and when CUDA is asked for and absent.
        """
        path = locate(weights)
        record = checkpoint.read_record(path)
        if record.family != "expression" or record.architecture not in ARCHITECTURES:
            raise CheckpointError(
                f"{checkpoint.record_path(path)}: {record.family}/{record.architecture} is not "
                f"an expression net; accepted: {', '.join(ARCHITECTURES)}"
            )
        if tuple(record.labels) != LABELS:
            raise CheckpointError(
                f"{checkpoint.record_path(path)}: labels are {', '.join(record.labels)}; "
                f"accepted: {', '.join(LABELS)}"
            )
        if device == "cuda" and not torch.cuda.is_available():
            raise CheckpointError("expression.device is cuda, but torch finds no CUDA device here")
        chosen = "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"
        try:
            net = build(record.architecture, record.options)
        except TypeError as error:
            raise CheckpointError(
                f"{path} and its record {checkpoint.record_path(path).name} do not fit: "
                f"{record.architecture} has no options {record.options}"
            ) from error
        checkpoint.load_into(path, net, record)
        return cls(net, record, device=chosen, tta=tta)

    @property
    def crops(self) -> int:
        """Crops per face."""
        return CROPS[self.tta]

    @torch.inference_mode()
    def predict(self, batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Probabilities float32 [N, 7], in the order of LABELS, of uint8 faces [N, 48, 48]."""
        faces = torch.from_numpy(batch).to(self.device, non_blocking=True)
        mean = mean_probabilities(
            self._net, faces, self.record.crop_px, self.tta, self.record.temperature
        )
        return mean.cpu().numpy()


def shipped() -> list[str]:
    """Names of the weights that came with the package."""
    return sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def locate(weights: str | Path) -> Path:
    """The file that a name or a path means. Raises CheckpointError for what is neither."""
    if str(weights) in shipped():
        return SHIPPED / f"{weights}.safetensors"
    path = Path(weights)
    if path.suffix != ".safetensors":
        raise CheckpointError(
            f"expression.weights is {str(weights)!r}; accepted: {', '.join(shipped())}, "
            "or the path of a .safetensors file"
        )
    return path


def fuse(net: nn.Module) -> nn.Module:
    """Fold every batch normalisation that follows a convolution into it; needs eval mode."""
    for child in net.children():
        fuse(child)
    if isinstance(net, nn.Sequential):
        for index in range(len(net) - 1):
            conv, norm = net[index], net[index + 1]
            if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                net[index] = fuse_conv_bn_eval(conv, norm)
                net[index + 1] = nn.Identity()
    return net
