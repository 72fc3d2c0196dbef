"""Which backend is taken, and what is said when it is not the best."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from detectors import store
from detectors.base import Detector, Range
from detectors.errors import (
    BackendError,
    DetectorError,
    ModelMismatchError,
    ModelMissingError,
    PullError,
)
from detectors.origins import Address
from detectors.select import BackendSetting, Choice, resolve
from tests.shared import MODELS, needs_shared

pytestmark = needs_shared

NOBODY = Address("http://127.0.0.1:9/x")


class Said(list[str]):
    def all(self) -> str:
        return "\n".join(self)


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No model can be pulled."""
    models = {name: replace(model, origins=(NOBODY,)) for name, model in store.MODELS.items()}
    monkeypatch.setattr(store, "MODELS", models)


@pytest.fixture
def said() -> Said:
    return Said()


def take(backend: BackendSetting, models: Path, said: Said, pull: bool = False) -> Choice:
    return resolve(backend, range="full", min_score=0.5, models=models, pull=pull, log=said.append)


def put(name: str, folder: Path) -> None:
    shutil.copyfile(MODELS / store.MODELS[name].file, folder / store.MODELS[name].file)


def test_auto_takes_the_best_that_is_there(tmp_path: Path, said: Said) -> None:
    put("blazeface-full", tmp_path)
    assert take("auto", tmp_path, said).backend == "mediapipe"
    put("yunet", tmp_path)
    assert take("auto", tmp_path, said).backend == "yunet"
    assert said == []


def test_auto_pulls_and_falls_back_loudly(tmp_path: Path, said: Said) -> None:
    choice = take("auto", tmp_path, said, pull=True)
    assert choice.backend == "haar"
    assert "pulling its model yunet" in said.all()
    assert "pulling its model blazeface-full" in said.all()
    assert "refused" in said.all()
    assert said[-1].startswith("WARNING: ")
    # Who reads it may be root, whose own folder of models is another than the service's.
    assert said[-1].endswith(f"`AFFECTD_MODELS={tmp_path} affectd models pull` brings them")


def test_auto_without_pulling_asks_no_network(tmp_path: Path, said: Said) -> None:
    assert take("auto", tmp_path, said).backend == "haar"
    assert len(said) == 1
    assert "Haar" in said[0]


def test_auto_never_loads_a_file_that_is_not_the_pinned_one(tmp_path: Path, said: Said) -> None:
    (tmp_path / store.MODELS["yunet"].file).write_bytes(b"another")
    put("blazeface-full", tmp_path)
    assert take("auto", tmp_path, said).backend == "mediapipe"
    assert "is not yunet: expected SHA-256" in said.all()


def test_auto_passes_over_a_backend_that_does_not_start(
    tmp_path: Path, said: Said, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As MediaPipe where libEGL is missing, which is here. Whoever names it reads why; a model that
    is there is not pulled for it."""

    def fail(*_: object, **__: object) -> Detector:
        raise BackendError("a library is missing")

    monkeypatch.setattr("detectors.yunet.YuNet", fail)
    monkeypatch.setattr("detectors.select._openvino", lambda model, log: None)
    for name in ("yunet", "blazeface-full"):
        put(name, tmp_path)
    assert take("auto", tmp_path, said).backend == "mediapipe"
    assert said == ["WARNING: detector yunet cannot be used: a library is missing"]
    for pull in (False, True):
        with pytest.raises(BackendError, match=r"^a library is missing$"):
            take("yunet", tmp_path, said, pull)


def test_a_named_backend_is_that_or_an_error(tmp_path: Path, said: Said) -> None:
    hint = f"`AFFECTD_MODELS={tmp_path} affectd models pull blazeface-full` brings it"
    with pytest.raises(ModelMissingError, match=hint):
        take("mediapipe", tmp_path, said)
    with pytest.raises(PullError, match=r"yunet: .*refused"):
        take("yunet", tmp_path, said, pull=True)
    (tmp_path / store.MODELS["yunet"].file).write_bytes(b"another")
    with pytest.raises(ModelMismatchError, match="expected SHA-256"):
        take("yunet", tmp_path, said)
    with pytest.raises(DetectorError):
        take("yunet", tmp_path, said, pull=True)
    put("yunet", tmp_path)
    assert take("yunet", tmp_path, said).backend == "yunet"
    assert take("haar", tmp_path, said).backend == "haar"


def test_a_choice_outlives_its_files(tmp_path: Path, said: Said) -> None:
    """Streams that start later need neither disk nor network again."""
    put("yunet", tmp_path)
    choice = take("auto", tmp_path, said)
    (tmp_path / store.MODELS["yunet"].file).unlink()
    first, second = choice.make(), choice.make()
    assert first is not second
    assert first.name == second.name == "yunet"
    assert first.description == choice.description
    assert "\\x" not in repr(choice)


@pytest.mark.parametrize("range", ["short", "full"])
def test_readings_tell_the_ranges_apart(said: Said, range: Range) -> None:
    choice = resolve(
        "mediapipe", range=range, min_score=0.5, models=MODELS, pull=False, log=said.append
    )
    detector = choice.make()
    detector.close()
    assert choice.description == detector.description == f"mediapipe {range}"
    assert detector.name == "mediapipe"
