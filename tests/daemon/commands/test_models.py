"""`affectd models pull`: what can be had is brought, whatever else cannot."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from detectors import store
from detectors.origins import Address
from tests.inside import inside


def test_a_model_that_cannot_be_had_does_not_keep_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content, folder = b"a model", tmp_path / "models"
    (tmp_path / "there").write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    origins = {
        "first": tmp_path / "absent",
        "second": tmp_path / "there",
        "third": tmp_path / "absent",
    }
    models = {
        name: replace(
            store.MODELS["yunet"],
            name=name,
            file=name,
            sha256=digest,
            size_bytes=len(content),
            origins=(Address(path.as_uri()),),
        )
        for name, path in origins.items()
    }
    monkeypatch.setattr(store, "MODELS", models)
    monkeypatch.setenv("AFFECTD_MODELS", str(folder))
    done = inside(capsys, "models", "pull")
    assert done.code == 1
    brought, *failed = done.err
    assert brought == f"second: {folder}/second"
    assert [line.partition(": file:")[0] for line in failed] == ["affectd: first", "affectd: third"]
    assert [path.name for path in folder.iterdir()] == ["second"]
