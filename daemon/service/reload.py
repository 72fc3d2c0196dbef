"""What a new configuration changes: which streams, which keys, and which of those need a restart.

docs/reload.md tells users the same, key by key.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import BaseModel, SecretStr

from daemon.config.settings import Settings

# Keys outside of [[stream]] that are applied while everything runs. A name that ends in a dot is a
# whole table. All others are read only when models are loaded or the port is opened.
APPLIED = (
    "daemon.allow_anonymous",
    "daemon.allowed_hosts",
    "daemon.allowed_origins",
    "daemon.log_level",
    "daemon.token",
    "detector.every",
    "detector.long_side_px",
    "expression.max_blur",
    "expression.max_yaw_deg",
    "expression.min_face_px",
    "expression.prior.",
    "expression.unknown_below",
    "overlay.",
    "tracking.",
)

# Access changes only together with the address: what is safe on loopback would let everybody read
# from a socket that still listens beyond it.
ACCESS = (
    "daemon.allow_anonymous",
    "daemon.allowed_hosts",
    "daemon.allowed_origins",
    "daemon.token",
)

Flat = dict[str, object]


@dataclass(frozen=True, slots=True)
class Changes:
    """What differs. `changed`, `applied` and `waiting` hold descriptions such as
    `fps 30.0 -> 15.0`, of which none shows a secret."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: dict[str, list[str]]
    applied: list[str]
    waiting: list[str]

    def lines(self) -> Iterator[str]:
        """The diff, for the log."""
        for name, keys in self.changed.items():
            yield f"stream {name} starts anew: {', '.join(keys)}"
        for name in self.added:
            yield f"stream {name} is new"
        for name in self.removed:
            yield f"stream {name} is gone"
        if self.applied:
            yield f"applied: {', '.join(self.applied)}"
        if self.waiting:
            yield f"needs a restart: {', '.join(self.waiting)}"
        if not (self.changed or self.added or self.removed or self.applied or self.waiting):
            yield "nothing changed"


def is_applied(key: str) -> bool:
    """Whether a key outside of [[stream]] is taken over without a restart."""
    return any(key == name or (name[-1] == "." and key.startswith(name)) for name in APPLIED)


def compare(started: Settings, current: Settings, new: Settings) -> Changes:
    """Compare `new` with the settings in use: `started`, those of the daemon's start, for keys that
    need a restart, and `current` for all others."""
    moves = _moves(started, new)
    before = {stream.name: stream for stream in current.stream}
    after = {stream.name: stream for stream in new.stream}
    changed = {
        name: [line for _, line in _each(_flat(before[name]), _flat(after[name]))]
        for name in after
        if name in before and before[name] != after[name]
    }
    first, was, wanted = (_without_streams(settings) for settings in (started, current, new))
    return Changes(
        added=tuple(name for name in after if name not in before),
        removed=tuple(name for name in before if name not in after),
        changed=changed,
        applied=[
            line
            for key, line in _each(was, wanted)
            if is_applied(key) and not (moves and key in ACCESS)
        ],
        waiting=[
            *(line for key, line in _each(first, wanted) if not is_applied(key)),
            *(line for key, line in _each(was, wanted) if moves and key in ACCESS),
        ],
    )


def in_effect(started: Settings, current: Settings, new: Settings) -> Settings:
    """The settings after a reload: `new`, but the old ACCESS while a new address waits."""
    if not _moves(started, new):
        return new
    names = [key.removeprefix("daemon.") for key in ACCESS]
    kept = {name: getattr(current.daemon, name) for name in names}
    return new.model_copy(update={"daemon": new.daemon.model_copy(update=kept)})


def _moves(started: Settings, new: Settings) -> bool:
    return started.daemon.listen != new.daemon.listen


def _without_streams(settings: Settings) -> Flat:
    return {key: value for key, value in _flat(settings).items() if not key.startswith("stream[")}


def _flat(value: object, key: str = "") -> Flat:
    """Every value below `value` by its dotted key, such as `sink[0].crf`."""
    inner: dict[str, object] = {}
    if isinstance(value, BaseModel):
        dot = f"{key}." if key else ""
        inner = {f"{dot}{name}": getattr(value, name) for name in type(value).model_fields}
    elif isinstance(value, dict):
        inner = {f"{key}.{name}": one for name, one in value.items()}
    elif isinstance(value, tuple) and value and isinstance(value[0], BaseModel):
        inner = {f"{key}[{index}]": one for index, one in enumerate(value)}
    else:
        return {key: value}
    return {name: leaf for key, one in inner.items() for name, leaf in _flat(one, key).items()}


def _each(was: Flat, wanted: Flat) -> Iterator[tuple[str, str]]:
    """The keys that differ, each with what it was and what it becomes."""
    for key in dict.fromkeys((*was, *wanted)):
        if key not in wanted:
            yield key, f"{key} gone"
        elif key not in was:
            yield key, f"{key} {_shown(wanted[key])} is new"
        elif was[key] != wanted[key]:
            if isinstance(wanted[key], SecretStr):
                yield key, f"{key} (not shown)"
            else:
                yield key, f"{key} {_shown(was[key])} -> {_shown(wanted[key])}"


def _shown(value: object) -> str:
    if isinstance(value, SecretStr):
        return "(not shown)"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return f"[{', '.join(map(str, value))}]"
    return "not set" if value is None else str(value)
