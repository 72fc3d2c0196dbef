"""Every error that the detectors name.

DetectorError
├── ModelMissingError    a model file is not there, and was not pulled
├── ModelMismatchError   a model file is not the one whose SHA-256 is pinned, or does not load
├── BackendError         a backend's library does not start on this machine
└── PullError            no origin of a model gave it; the message says what each one answered
"""

from __future__ import annotations


class DetectorError(Exception):
    """Base of all errors of this package; the message is meant for the user."""


class ModelMissingError(DetectorError):
    """A model file is not where it should be."""


class ModelMismatchError(DetectorError):
    """A model file is not the one it should be."""


class BackendError(DetectorError):
    """A backend's library cannot be used here; the message says what it lacks."""


class PullError(DetectorError):
    """A model could not be brought from any of its origins."""
