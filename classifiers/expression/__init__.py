"""Facial expression of one face: FER2013's seven classes from a 48x48 grey crop.

Imports nothing that takes time, so that the command line can name what it accepts.
"""

from typing import Literal

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Classes in the order of FER2013's `emotion` column, which is the order of the logits."""

Device = Literal["cpu", "cuda"]
DeviceSetting = Literal["auto", Device]
Engine = Literal["torch", "openvino"]
EngineSetting = Literal["auto", Engine]
Split = Literal["train", "holdout", "public", "private"]
StaticTTA = Literal["none", "flip", "scales", "ten_crop"]
"""The modes for a face that is looked at once; `temporal` would show one view of it, as `none`."""
TTA = Literal[StaticTTA, "temporal"]
