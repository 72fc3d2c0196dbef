"""The cast of `demo://`: made-up people, told apart by numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Colour = tuple[int, int, int]
"""RGB, 0..255."""


@dataclass(frozen=True, slots=True)
class Person:
    """How a face differs from the average one; 1.0 means average where nothing else is said."""

    skin: Colour
    hair: Colour
    iris: Colour
    shirt: Colour
    style: Literal["short", "long", "bald", "bun"]
    width: float = 1.0
    jaw: float = 1.0
    nose: float = 1.0
    lips: float = 1.0
    brow: float = 1.0
    lip_colour: float = 0.4  # 0 skin .. 1 painted
    age: float = 0.3  # 0 smooth .. 1 lined
    stubble: float = 0.0
    glasses: bool = False


PEOPLE: tuple[Person, ...] = (
    Person(
        (222, 180, 154), (60, 42, 30), (86, 66, 44), (58, 84, 120), "short",
        jaw=1.05, brow=1.15, lip_colour=0.25, age=0.4, stubble=0.25,
    ),
    Person(
        (230, 190, 166), (96, 60, 34), (70, 92, 84), (150, 66, 70), "long",
        width=0.97, jaw=0.93, nose=0.9, lips=1.15, brow=0.95, lip_colour=0.7, age=0.15,
    ),
    Person(
        (150, 104, 78), (26, 20, 18), (52, 36, 26), (196, 178, 120), "short",
        width=1.02, nose=1.15, lips=1.3, brow=1.1, lip_colour=0.3, age=0.3,
    ),
    Person(
        (214, 170, 142), (150, 146, 142), (88, 104, 120), (84, 98, 86), "short",
        jaw=1.02, nose=1.08, lips=0.85, brow=1.0, lip_colour=0.2, age=0.9,
    ),
    Person(
        (196, 146, 112), (30, 24, 22), (58, 40, 28), (96, 78, 130), "bun",
        width=0.98, jaw=0.94, nose=0.95, lips=1.1, brow=0.9, lip_colour=0.6, age=0.2,
    ),
    Person(
        (226, 184, 158), (120, 84, 50), (84, 110, 130), (70, 74, 82), "bald",
        width=1.03, jaw=1.06, brow=1.0, lip_colour=0.25, age=0.6, stubble=0.35,
    ),
)  # fmt: skip
