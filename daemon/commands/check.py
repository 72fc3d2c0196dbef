"""`affectd check`: what is wrong with a configuration and its environment, or does nothing."""

from __future__ import annotations

import os
from pathlib import Path

from daemon.commands.bench import machine, record
from daemon.config.file import load
from daemon.service import logs, preflight
from daemon.service.clashes import clashes
from daemon.terminal import out, say, warn


def check_config(config: Path, connect: bool) -> bool:
    """Say what there is to say; whether all is well. With `connect` each source is opened too, and
    all must give a picture. Raises ConfigError, DetectorError."""
    service = preflight.main_environ(os.environ)
    loaded = load(config, os.environ if service is None else service)
    settings = loaded.settings
    preflight.check(config, settings)
    preflight.foresee_covers(settings, service)
    if found := clashes():
        say("\n".join(found))
        return False
    streams = ", ".join(stream.name for stream in settings.stream)
    out.print(f"{config}: valid; streams: {streams}")
    for line in preflight.in_vain(config, settings):
        warn(line)
    seen = {}
    if connect:
        from daemon.commands.connect import connect as open_all

        redactor = logs.set_up("warning", loaded.secrets)
        seen = open_all(settings.stream, redactor.redact, out)
    if measured := record.load(record.kept_path()):
        from daemon.commands.bench.capacity import warning  # torch takes its time

        if text := warning(settings, measured, machine.cores(), seen):
            warn(f"{config}: {text}")
    return not connect or len(seen) == len(settings.stream)
