"""What a service will say of a configuration: `affectd check` asks before it does, or beside it.

systemd runs `check` within ExecReload=, so that `systemctl reload` fails where the daemon refuses.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from daemon.config.settings import Settings
from daemon.service import usable
from detectors import select, store


def main_environ(env: Mapping[str, str]) -> dict[str, str] | None:
    """The variables that the service was started with, for a command of its ExecReload=; None
    elsewhere. systemd gives that command newer ones: it reads EnvironmentFile= again."""
    if not (pid := env.get("MAINPID", "")).isdecimal():
        return None
    try:
        pairs = Path("/proc", pid, "environ").read_bytes().split(b"\0")
    except OSError:
        return dict(env)
    found = (os.fsdecode(pair).partition("=") for pair in pairs if pair)
    return {name: value for name, _, value in found}


def foresee_covers(settings: Settings, service: Mapping[str, str] | None) -> None:
    """Raise DetectorError as `usable.check_covers` will, going by the models that are there.

    `service` are the variables of a service that runs, and pulls no model. None stands for one to
    come, which may pull one, or find one in a folder of which nothing is known here.
    """
    comes_to_more = settings.models.pull or not Path(settings.models.dir).is_absolute()
    if not usable.covered(settings) or (service is None and comes_to_more):
        return
    found = select.resolve(
        settings.detector.backend,
        range=settings.detector.range,
        min_score=settings.detector.min_score,
        models=store.models_dir(settings.models.dir, os.environ if service is None else service),
        pull=False,
        log=lambda _: None,
    )
    usable.check_covers(settings, found)
