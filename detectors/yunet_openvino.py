"""YuNet, run by OpenVINO: the same faces as by OpenCV's FaceDetectorYN, in about half of the time.

What comes before and after the net follows OpenCV 4.14, modules/objdetect/src/face_detect.cpp.
"""

from __future__ import annotations

import sys
import threading
from functools import cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from detectors.base import Detection
from detectors.yunet import NMS_OVERLAP, TOP_K, as_detections

# OpenVINO tells its makers of every import, over the network, unless this package is missing.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

import openvino  # noqa: E402
from openvino.preprocess import ColorFormat, PrePostProcessor  # noqa: E402

# Cells of the three grids of candidates; sides of the net's pictures are multiples of the last.
STRIDES_PX = (8, 16, 32)
MOST_SIZES = 8  # that have a net of their own, which takes 14 MB; the rest share a slower one

Size = tuple[int, int]  # height, width
ANY_SIZE: Size = (-1, -1)


@cache
def core() -> openvino.Core:
    """Kept for ever: destroying the last Core frees the signal stack it installed, and the next
    Ctrl-C would crash."""
    return openvino.Core()


class Nets:
    """The net of `model`, the content of its .onnx file, compiled for each picture size.

    All threads share it; as many may use it at once as there are processors. Raises RuntimeError
    where OpenVINO fails.
    """

    def __init__(self, model: bytes) -> None:
        self._model = model
        self._compiled: dict[Size, Any] = {}
        self._lock = threading.Lock()
        self.request((STRIDES_PX[-1], STRIDES_PX[-1]))

    def request(self, size: Size) -> Any:
        """Something to call with an RGB uint8 [1, *size, 3] picture, for one thread."""
        with self._lock:
            if size not in self._compiled and len(self._compiled) >= MOST_SIZES:
                size = ANY_SIZE
            if size not in self._compiled:
                self._compiled[size] = self._compile(size)
            return self._compiled[size].create_infer_request()

    def _compile(self, size: Size) -> Any:
        net = core().read_model(self._model, b"")
        net.reshape([1, 3, *size])
        steps = PrePostProcessor(net)
        picture = steps.input().tensor()
        picture.set_element_type(openvino.Type.u8).set_layout(openvino.Layout("NHWC"))
        picture.set_color_format(ColorFormat.RGB)
        to_net = steps.input().preprocess().convert_element_type(openvino.Type.f32)
        to_net.convert_color(ColorFormat.BGR)
        steps.input().model().set_layout(openvino.Layout("NCHW"))
        at_once = cv2.getNumberOfCPUs()
        return core().compile_model(
            steps.build(),
            "CPU",
            {
                # One thread a picture: streams are what runs in parallel.
                "NUM_STREAMS": at_once,
                "INFERENCE_NUM_THREADS": at_once,
                "INFERENCE_PRECISION_HINT": "f32",
                "ENABLE_CPU_PINNING": False,
            },
        )


class YuNetOpenVINO:
    """The YuNet detector of one thread."""

    name = "yunet"
    description = "yunet by openvino"

    def __init__(self, nets: Nets, *, min_score: float = 0.5) -> None:
        self._nets = nets
        self._min_score = min_score
        self._size: Size = (0, 0)

    def detect(self, image: NDArray[np.uint8]) -> list[Detection]:
        """Find the faces of an RGB uint8 [h, w, 3] image, best score first."""
        height, width = image.shape[:2]
        most = STRIDES_PX[-1]
        self._fit((-(-height // most) * most, -(-width // most) * most))
        self._picture[0, :height, :width] = image
        self._picture[0, height:] = 0
        self._picture[0, :height, width:] = 0
        found = self._request.infer([self._picture], share_inputs=True, share_outputs=True)
        rows = np.concatenate(
            [self._rows(found, *grid) for grid in zip(STRIDES_PX, self._cells, strict=True)]
        )
        boxes = np.trunc(rows[:, :4]).astype(int).tolist()
        scores = rows[:, 14].tolist()
        kept = cv2.dnn.NMSBoxes(boxes, scores, self._min_score, NMS_OVERLAP, 1.0, TOP_K)
        return as_detections(rows[np.asarray(kept, int)])

    def _fit(self, size: Size) -> None:
        """Get ready for pictures of this size."""
        if size == self._size:
            return
        self._request = self._nets.request(size)
        self._picture = np.zeros((1, *size, 3), np.uint8)
        height, width = size
        self._cells = [
            np.stack(np.meshgrid(range(width // px), range(height // px)), -1).reshape(-1, 2)
            for px in STRIDES_PX
        ]
        self._size = size

    def _rows(self, found: Any, px: int, cells: NDArray[np.int64]) -> NDArray[np.float32]:
        """The candidates of one grid that score enough, [N, 15]. cells: column and row of each."""
        face, there = (found[f"{name}_{px}"][0, :, 0].clip(0.0, 1.0) for name in ("cls", "obj"))
        score = np.sqrt(face * there)
        (which,) = np.nonzero(score >= self._min_score)
        cells = cells[which]
        box = found[f"bbox_{px}"][0, which]
        middle, side = (cells + box[:, :2]) * px, np.exp(box[:, 2:]) * px
        points = (cells[:, None] + found[f"kps_{px}"][0, which].reshape(-1, 5, 2)) * px
        parts = (middle - side / 2, side, points.reshape(-1, 10), score[which, None])
        return np.concatenate(parts, 1).astype(np.float32)

    def close(self) -> None:
        """Nothing to free: OpenVINO counts references."""
