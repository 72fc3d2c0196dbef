"""The model files on disk: which ones there are, whether they are the right ones, pulling them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from detectors.errors import ModelMismatchError, ModelMissingError, PullError
from detectors.origins import Address, Origin, OriginFailure, WheelMember

NO_HOME = Path("/nonexistent")  # as Debian names the home of users that have none

Progress = Callable[[int, int], None]
State = Literal["verified", "mismatch", "missing"]


@dataclass(frozen=True, slots=True)
class Model:
    """A model file: its name for the user, its file name, and what its content must be."""

    name: str
    file: str
    sha256: str
    size_bytes: int
    licence: str
    origins: tuple[Origin, ...]


def _blazeface(name: str, file: str, generation: int, sha256: str, size_bytes: int) -> Model:
    address = f"https://storage.googleapis.com/mediapipe-assets/{file}?generation={generation}"
    wheel = WheelMember(
        "mediapipe==0.10.21",
        f"mediapipe/modules/face_detection/{file}",
        python_version="3.12",
        platform="manylinux_2_28_x86_64",
    )
    return Model(name, file, sha256, size_bytes, "Apache-2.0", (Address(address), wheel))


_ZOO = "opencv/opencv_zoo"
_ZOO_COMMIT = "47534e27c9851bb1128ccc0102f1145e27f23f98"
_YUNET = "models/face_detection_yunet/face_detection_yunet_2026may.onnx"

MODELS: Mapping[str, Model] = {
    model.name: model
    for model in (
        _blazeface(
            "blazeface-short",
            "face_detection_short_range.tflite",
            1677044301978921,
            "bbff11cebd1eb27a1e004cae0b0e63ec8c551cbf34a4451148b4908b8db3eca8",
            229714,
        ),
        _blazeface(
            "blazeface-full",
            "face_detection_full_range_sparse.tflite",
            1674261618323821,
            "2c3728e6da56f21e21a320433396fb06d40d9088f2247c05e5635a688d45dfe1",
            676746,
        ),
        Model(
            "yunet",
            "face_detection_yunet_2026may.onnx",
            "ebafce4e3c118d6554634be5c27ab333b4c047a9a8c3faf1d7cf93101c22f0f0",
            229738,
            "MIT",
            (
                Address(f"https://media.githubusercontent.com/media/{_ZOO}/{_ZOO_COMMIT}/{_YUNET}"),
                Address(f"https://github.com/{_ZOO}/raw/{_ZOO_COMMIT}/{_YUNET}"),
            ),
        ),
    )
}


@dataclass(frozen=True, slots=True)
class Listed:
    """A model as `affectd models list` shows it."""

    name: str
    path: Path
    state: State
    licence: str


def state_dir(environ: Mapping[str, str] = os.environ) -> Path:
    """affectd's own folder for what it keeps: systemd's state directory, else the user's."""
    # systemd gives several folders as a colon-separated list; ours is the first.
    if state := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return Path(state)
    state_home = environ.get("XDG_STATE_HOME", "")
    if state_home.startswith("/"):  # The XDG specification has relative paths ignored.
        return Path(state_home, "affectd")
    with contextlib.suppress(RuntimeError):
        return Path("~/.local/state/affectd").expanduser()
    return NO_HOME / ".local/state/affectd"


def models_dir(configured: str, environ: Mapping[str, str] = os.environ) -> Path:
    """The folder of the model files: the first that is set of the configuration's models.dir,
    $AFFECTD_MODELS, systemd's state directory, and the user's state directory.

    Raises ModelMissingError for the home of nobody."""
    if configured:
        return Path(configured)
    if chosen := environ.get("AFFECTD_MODELS", ""):
        try:
            return Path(chosen).expanduser()
        except RuntimeError:
            raise ModelMissingError(
                f"AFFECTD_MODELS: found {chosen!r}, and nobody of that name has a home here"
            ) from None
    return state_dir(environ) / "models"


def load(name: str, folder: Path) -> bytes:
    """The content of a model file, whose SHA-256 was checked.

    Raises ModelMissingError, or ModelMismatchError when the file is not the pinned one.
    """
    model = MODELS[name]
    path = folder / model.file
    try:
        with path.open("rb") as file:
            # One byte more than there should be: enough to see that it is another file.
            content = file.read(model.size_bytes + 1)
    except FileNotFoundError:
        raise ModelMissingError(f"the model file {path} is not there") from None
    except OSError as error:
        raise ModelMissingError(
            f"the model file {path} cannot be read: {error.strerror}"
        ) from error
    found = hashlib.sha256(content).hexdigest()
    if found != model.sha256:
        raise ModelMismatchError(
            f"the model file {path} is not {name}: "
            f"expected SHA-256 {model.sha256} in {model.size_bytes} bytes, found another content"
        )
    return content


def list_models(folder: Path) -> list[Listed]:
    """Every model and whether its file is there and right."""
    return [
        Listed(name, folder / model.file, _state(name, folder), model.licence)
        for name, model in MODELS.items()
    ]


def _state(name: str, folder: Path) -> State:
    try:
        load(name, folder)
    except ModelMissingError:
        return "missing"
    except ModelMismatchError:
        return "mismatch"
    return "verified"


def pull(
    name: str,
    folder: Path,
    *,
    origins: Sequence[Origin] | None = None,
    progress: Progress | None = None,
    timeout_s: float = 20.0,
) -> Path:
    """Bring a model file into `folder` (made if need be) and return its path.

    A file that is there and right is kept; a wrong one is replaced. Each origin is tried in
    turn, `progress` hears of (bytes done, bytes in all), and no read waits longer than
    `timeout_s`. Raises PullError, which says what each origin answered.
    """
    model = MODELS[name]
    path = folder / model.file
    if _state(name, folder) == "verified":
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise PullError(f"{name}: cannot make the folder {folder}: {error.strerror}") from error
    answers = []
    for origin in model.origins if origins is None else origins:
        try:
            _bring(model, origin, path, progress, timeout_s)
        except OriginFailure as failure:
            answers.append(f"{origin.where}: {failure}")
        except OSError as error:
            raise PullError(f"{name}: cannot write {path}: {error.strerror}") from error
        else:
            return path
    raise PullError(f"{name}: " + "; ".join(answers))


def _bring(
    model: Model, origin: Origin, path: Path, progress: Progress | None, timeout_s: float
) -> None:
    """Write what the origin gives beside `path`, and move it there if it is the right content."""
    part = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.part")
    digest, done_bytes = hashlib.sha256(), 0
    try:
        with part.open("wb") as file, contextlib.closing(origin.chunks(timeout_s)) as chunks:
            for chunk in chunks:
                done_bytes += len(chunk)
                if done_bytes > model.size_bytes:
                    raise OriginFailure(f"gave more than the {model.size_bytes} bytes expected")
                digest.update(chunk)
                file.write(chunk)
                if progress:
                    progress(done_bytes, model.size_bytes)
            file.flush()
            os.fsync(file.fileno())
        if digest.hexdigest() != model.sha256:
            raise OriginFailure(
                f"gave another file: SHA-256 {digest.hexdigest()}, expected {model.sha256}"
            )
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
