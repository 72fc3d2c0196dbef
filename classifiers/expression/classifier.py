"""The expression family as the daemon uses it: weights in, probabilities out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from classifiers import checkpoint
from classifiers.base import Reads
from classifiers.checkpoint import Record
from classifiers.errors import CheckpointError
from classifiers.expression import LABELS, TTA, DeviceSetting, EngineSetting, engines, joint
from classifiers.expression.architectures import ARCHITECTURES, FaceNet, build
from classifiers.expression.engines.cuda import device_for, failure
from classifiers.expression.joint import Joint
from classifiers.expression.oom import is_oom
from classifiers.expression.tta import (
    UNCHANGED,
    VIEW_COUNT,
    mean_probabilities,
    need_modes,
    temperature_of,
    with_temperature,
)
from classifiers.expression.weight_files import locate, locate_member, record_of

Layers = TypeVar("Layers", bound=nn.Module)


@dataclass(frozen=True)
class Net:
    """A net with its trained parameters, how its views are cut, and its weight in a joint.

    temperatures: of each of STATIC_TTA, by which a joint calibrates its mean over the views.
    """

    module: FaceNet
    crop_px: int
    ranges: engines.Ranges = field(default_factory=dict)
    temperatures: Mapping[str, float] = field(default_factory=lambda: UNCHANGED)
    weight: float = 1.0


class ExpressionClassifier:
    """Trained expression nets behind `classifiers.base.Classifier`: one, or several as a joint.

    Reads uint8 grey faces [N, 48, 48] of the crop contract. `tta` may be changed between two
    calls of `predict` and holds for all nets; so may `temperatures`, the record's, by which what
    they say together is calibrated. `engine` says what computes them, and how precisely. One
    instance belongs to one thread.
    """

    reads: Reads = "face"
    labels: tuple[str, ...] = LABELS

    def __init__(
        self,
        nets: Sequence[Net],
        record: Record | Joint,
        *,
        device: str,
        tta: TTA,
        engine: EngineSetting = "torch",
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.name = f"{record.name}-{record.sha256[:7]}"
        self.device = device
        self.unknown_below = record.unknown_below
        self.tta = tta
        self.record = record
        self.temperatures: Mapping[str, float] = record.temperature
        self.nets = tuple(nets)
        for net in self.nets:
            fuse(net.module.eval()).to(device).to(memory_format=torch.channels_last)
        self._running = tuple(
            engines.start(
                net.module, net.ranges, net.crop_px, wanted=engine, device=device, log=log
            )
            for net in self.nets
        )
        self.engine = ", ".join(dict.fromkeys(map(str, self._running)))

    @classmethod
    def load(
        cls,
        weights: str | Path = "default",
        *,
        device: DeviceSetting = "auto",
        tta: TTA = "ten_crop",
        engine: EngineSetting = "torch",
        log: Callable[[str], None] = lambda line: None,
    ) -> ExpressionClassifier:
        """Load shipped weights by name, or by path a net's .safetensors or a joint's .json.

        A device `auto` is the graphics card where it works and has room for the nets, but never
        for OpenVINO; `engines.start` says what `engine` and `log` are. Raises CheckpointError when
        a file or its record is missing, cut, or does not fit; EngineError when CUDA is asked for
        and does not work, and it or ExtraError for an engine that cannot run here; and torch's
        RuntimeError where a device fails under the nets (`explain_oom`).
        """
        path = locate(weights)
        record = record_of(path)
        if isinstance(record, Joint):
            nets = [_member(path, member) for member in record.members if member.weight > 0.0]
        else:
            nets = [load_net(path, record)]
        if device == "auto" and engine == "openvino":
            device = "cpu"
        made = partial(cls, nets, record, tta=tta, engine=engine, log=log)
        found, fault = device_for(device)
        if found == "cuda":
            try:
                return made(device=found)
            except RuntimeError as error:
                if device == "cuda" or not is_oom(error):
                    raise
                fault = failure(error)
        if fault:
            log(f"WARNING: {fault}; expressions are read on the processor")
        return made(device="cpu")

    @property
    def view_count(self) -> int:
        """Views per face, of all nets together."""
        return VIEW_COUNT[self.tta] * len(self.nets)

    @torch.inference_mode()
    def predict(
        self, batch: NDArray[np.uint8], view_indices: NDArray[np.int64] | None = None
    ) -> NDArray[np.float32]:
        """Probabilities float32 [N, 7], in the order of LABELS, of uint8 faces [N, 48, 48].

        view_indices: int64 [N], how many readings of each one's track are averaged already;
        `temporal` goes by it, and None is zeros.
        """
        faces = torch.from_numpy(batch).to(self.device, non_blocking=True)
        tta, indices = self.tta, None
        if tta == "temporal" and view_indices is not None:
            indices = torch.from_numpy(view_indices).to(self.device, non_blocking=True)
        means = [
            mean_probabilities(run.logits, faces, net.crop_px, tta, indices)
            for net, run in zip(self.nets, self._running, strict=True)
        ]
        return self.joined(means, tta).cpu().numpy()

    @torch.no_grad()
    def predict_standardised(self, x: torch.Tensor) -> torch.Tensor:
        """Probabilities [N, 7] of standardised faces [N, 1, S, S] on the device, each in one view.

        For training: of the very pictures that a net which learns from this one is shown.
        """
        return self.joined([net.module(x).float().softmax(-1) for net in self.nets], "none")

    def joined(self, means: Sequence[torch.Tensor], tta: TTA) -> torch.Tensor:
        """What the nets say together, [N, 7]: of each its mean over the views of `tta`, [N, 7], is
        calibrated and weighed, and the sum is calibrated once more."""
        parts = [
            net.weight * with_temperature(mean, temperature_of(net.temperatures, tta))
            for net, mean in zip(self.nets, means, strict=True)
        ]
        return with_temperature(torch.stack(parts).sum(0), temperature_of(self.temperatures, tta))


def load_net(path: Path, record: Record) -> Net:
    """Build the net that a record describes and load it from `path`.

    Raises CheckpointError for a record of something else, and as `checkpoint.load_into`.
    """
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
    try:
        module = build(record.architecture, record.options)
    except (TypeError, ValueError, RuntimeError, LookupError) as error:
        raise CheckpointError(
            f"{path} and its record {checkpoint.record_path(path).name} do not fit: "
            f"{record.architecture} has no options {record.options}"
        ) from error
    checkpoint.load_into(path, module, record)
    strange = sorted(record.activations.keys() - dict(module.named_modules()).keys())
    if strange:
        raise CheckpointError(
            f"{path} and its record {checkpoint.record_path(path).name} do not fit: "
            f"activations.{strange[0]} is no layer of {record.architecture}"
        )
    need_modes(checkpoint.record_path(path), record.temperature)
    return Net(module, record.crop_px, record.activations)


def _member(path: Path, member: joint.Member) -> Net:
    """Load one net of the joint at `path`; what is wrong with it names the joint too."""
    weights = locate_member(member.net, path.parent, f"{path}: ")
    try:
        record = checkpoint.read_record(weights)
        net = load_net(weights, record)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from error
    if record.sha256 != member.sha256:
        raise CheckpointError(
            f"{path} and its member {weights} do not fit: the joint was found with a net whose "
            f"SHA-256 begins with {member.sha256[:7]}, this one's begins with {record.sha256[:7]}"
        )
    return replace(net, temperatures=record.temperature, weight=member.weight)


def fuse(net: Layers) -> Layers:
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
