"""Where the clips, models and data are that tests use and the project does not hold."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

SHARED = Path(
    os.environ.get("AFFECTD_SHARED") or Path(__file__).resolve().parents[1].parent / "shared"
)
MODELS = SHARED / "models"
VIDEO = SHARED / "video"

needs_shared = pytest.mark.skipif(
    not SHARED.is_dir(), reason=f"shared material is not at {SHARED}; set AFFECTD_SHARED"
)
