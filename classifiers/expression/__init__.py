"""Facial expression of one face: FER2013's seven classes from a 48x48 grey crop."""

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Classes in the order of FER2013's `emotion` column, which is the order of the logits."""
