"""What a `demo://` source shows, from its script alone."""

from __future__ import annotations

from daemon.sources.demo.source import parse

MIDDLE_Y = 45.0
"""Height of a face's middle below its eyes, in face coordinates."""


def expected(url: str, t_s: float) -> list[tuple[float, float, str, bool]]:
    """What each face shows at media time t_s: middle x and y in pixels, expression, settled.

    `settled` is False while the face changes to that expression. Raises SourceError.
    """
    shown = []
    for actor in parse(url).actors():
        x, y = actor.place(t_s).at(0, MIDDLE_Y)
        look = actor.look(t_s)
        shown.append((x, y, look.now, look.share >= 1.0))
    return shown
