"""What a face costs a net, whatever computes it."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from classifiers.checkpoint import Record, read_record
from classifiers.expression import TTA, StaticTTA
from classifiers.expression.architectures import build
from classifiers.expression.tta import mean_probabilities
from classifiers.expression.weight_files import locate, nets_of


def face_mflop(weights: str, tta: TTA) -> float:
    """Millions of operations for one face; of a joint, of all its nets. `weights` is what
    `expression.weights` accepts. Raises CheckpointError for nets that cannot be read."""
    mode: StaticTTA = "none" if tta == "temporal" else tta  # one view of each picture
    return sum(flops(read_record(net), mode) for net in nets_of(locate(weights))) / 1e6


@torch.inference_mode()
def flops(record: Record, tta: StaticTTA) -> int:
    """Floating point operations for one face; a multiplication with its addition counts two."""
    net = build(record.architecture, record.options).eval()
    face = torch.zeros(1, record.input_px, record.input_px)
    with FlopCounterMode(display=False) as counter:
        mean_probabilities(net, face, record.crop_px, tta)
    return int(counter.get_total_flops())
