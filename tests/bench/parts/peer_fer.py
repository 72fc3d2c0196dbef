"""The package `fer` in an environment of its own, told by lines what to do; for peers.py.

    python peer_fer.py FACES.npy CLIP OUT

FACES is uint8 [N, 48, 48]. Each line on standard input is answered by one of JSON: `labels` by the
label of every face, `faces FROM TO` by the processor seconds for those faces, `clip` by frames,
faces and processor seconds for reading, detecting, classifying, drawing and writing the clip.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import cv2
import numpy as np
from fer.fer import FER  # type: ignore[import-not-found,unused-ignore]
from fer.utils import draw_annotations  # type: ignore[import-not-found,unused-ignore]


def classify(net: FER, faces: np.ndarray) -> np.ndarray:  # type: ignore[type-arg,unused-ignore]
    """What `detect_emotions` does with the faces that it found: resize, scale, TFLite."""
    large = np.array([cv2.resize(face, (64, 64)) for face in faces], dtype="float32")
    return net._classify_emotions((large / 255.0 - 0.5) * 2.0)  # type: ignore[no-any-return,unused-ignore]


def annotate(net: FER, clip: str, target: str) -> tuple[int, int]:
    reader = cv2.VideoCapture(clip)
    size = int(reader.get(cv2.CAP_PROP_FRAME_WIDTH)), int(reader.get(cv2.CAP_PROP_FRAME_HEIGHT))
    writer = cv2.VideoWriter(target, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, size)
    frames = found = 0
    while True:
        is_there, frame = reader.read()
        if not is_there:
            break
        faces = net.detect_emotions(frame)
        writer.write(draw_annotations(frame, faces))
        frames += 1
        found += len(faces)
    reader.release()
    writer.release()
    return frames, found


def main() -> None:
    faces, clip, target = np.load(sys.argv[1]), sys.argv[2], sys.argv[3]
    cv2.setNumThreads(1)
    net = FER()
    names = net._get_labels()
    for line in sys.stdin:
        what, *numbers = line.split()
        began_s = time.process_time()
        if what == "labels":
            best = classify(net, faces).argmax(1)
            answer: object = [names[int(index)] for index in best]
        elif what == "faces":
            classify(net, faces[int(numbers[0]) : int(numbers[1])])
            answer = time.process_time() - began_s
        else:
            frames, found = annotate(net, clip, target)
            answer = [frames, found, time.process_time() - began_s]
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
