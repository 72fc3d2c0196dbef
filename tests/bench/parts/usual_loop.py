"""The usual loop, for peers.py: OpenCV's capture, Haar, PIL's TenCrop, eager torch, VideoWriter."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from cv2.data import haarcascades
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import TenCrop
from torchvision.transforms.functional import pil_to_tensor

from classifiers.errors import CheckpointError
from classifiers.expression import LABELS
from classifiers.expression.classifier import Net, load_net
from classifiers.expression.joint import Joint
from classifiers.expression.weight_files import locate, record_of

Faces = NDArray[np.uint8]


def as_trained(weights: str) -> Net:
    """A single net, its norms not folded in. Raises CheckpointError, for a joint too."""
    path = locate(weights)
    record = record_of(path)
    if isinstance(record, Joint):
        raise CheckpointError(f"{weights} is a joint; accepted here is a single net")
    net = load_net(path, record)
    net.module.eval()
    return net


class Loop:
    """One frame after the other, one face after the other, ten crops each, as PIL cuts them.

    Raises CheckpointError as `as_trained`.
    """

    def __init__(self, weights: str) -> None:
        net = as_trained(weights)
        self._net = net.module
        self._crops = TenCrop(net.crop_px)
        self._haar = cv2.CascadeClassifier(
            str(Path(haarcascades) / "haarcascade_frontalface_default.xml")
        )

    @torch.inference_mode()
    def classify(self, faces: Faces) -> NDArray[np.float32]:
        """Probabilities [N, 7] of uint8 faces [N, 48, 48]."""
        rows = []
        for face in faces:
            mean, deviation = float(face.mean()), float(face.std())
            tensors = [pil_to_tensor(crop) for crop in self._crops(Image.fromarray(face))]
            x = (torch.stack(tensors).float() - mean) / (deviation + 1.0)
            rows.append(self._net(x).softmax(1).mean(0))
        return torch.stack(rows).numpy()

    def annotate(self, clip: Path, target: Path) -> tuple[int, int]:
        """Read, detect, classify, draw and write a whole clip; returns its frames and faces."""
        reader = cv2.VideoCapture(str(clip))
        size = int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
        writer = cv2.VideoWriter(str(target), cv2.VideoWriter.fourcc(*"mp4v"), 25.0, size)
        frames = found = 0
        while True:
            is_there, frame = reader.read()
            if not is_there:
                break
            grey = cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)
            for x, y, w, h in self._haar.detectMultiScale(grey, 1.1, 5, minSize=(50, 50)):
                face = cv2.resize(grey[y : y + h, x : x + w], (48, 48)).astype(np.uint8)
                found += 1
                label = LABELS[int(self.classify(face[None])[0].argmax())]
                cv2.rectangle(frame, (x, y), (x + w, y + h), (0, 155, 255), 2)
                cv2.putText(frame, label, (x, y - 4), cv2.FONT_HERSHEY_SIMPLEX, 0.6, (0, 155, 255))
            writer.write(frame)
            frames += 1
        reader.release()
        writer.release()
        return frames, found
