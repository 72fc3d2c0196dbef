"""What can go wrong in a classifier, its files and its data.

ClassifierError
├── CheckpointError   weights or their record are missing, cut, or do not fit each other
├── DataError         a data set is missing, incomplete or unreadable
├── EngineError       an engine or a device cannot run a net on this machine
├── ExtraError        a library of an optional extra is not installed
├── RecipeError       a training recipe has an unknown key or an impossible value
└── TrainingError     training cannot go on (loss is not a number)
"""

from __future__ import annotations


class ClassifierError(Exception):
    """Base of all errors of this package; the message names the file and what is accepted."""


class CheckpointError(ClassifierError):
    """Weights or their record are missing, cut, or do not fit each other."""


class DataError(ClassifierError):
    """A data set is missing, incomplete or unreadable."""


class EngineError(ClassifierError):
    """An engine, or the device it computes on, cannot run a net on this machine."""


class ExtraError(ClassifierError):
    """A library that only an optional extra brings is not installed."""


class RecipeError(ClassifierError):
    """A training recipe has an unknown key or an impossible value."""


class TrainingError(ClassifierError):
    """Training cannot go on."""


def first_line(error: Exception) -> str:
    """What an error of another library says, in one line."""
    return (str(error).strip() or repr(error)).splitlines()[0]
