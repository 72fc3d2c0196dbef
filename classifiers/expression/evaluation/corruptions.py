"""What a camera does to a face: pure changes of uint8 faces, to see what each one costs.

Every change takes uint8 [N, 48, 48] and returns a new uint8 [N, 48, 48]; its input stays as it is.
Where it looks beyond the face, the border goes on (replicate), as in the crop of the daemon.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from classifiers.expression.crop import FACE_PX, SLACK_RAD
from classifiers.expression.evaluation.scores import standard_error

Images = NDArray[np.uint8]

SHIFT = 0.15  # of the face's side
SCALE = 0.15
RESIDUAL_DEG = math.degrees(SLACK_RAD)

# The share of accuracy that each may cost at most.
LIGHT_AIM, JITTER_AIM, ROLL_AIM, SMALL_AIM = 0.01, 0.02, 0.03, 0.05


def contrast(images: Images, factor: float) -> Images:
    """Draw every pixel towards its face's mean: what is left is `factor` of the difference."""
    mean = images.mean(axis=(1, 2), keepdims=True, dtype=np.float64)
    return _to_uint8(mean + factor * (images - mean))


def dim(images: Images, factor: float) -> Images:
    """Multiply every pixel by `factor`."""
    return _to_uint8(factor * images.astype(np.float64))


def lift(images: Images, share: float) -> Images:
    """Add `share` of the full range 0..255; what exceeds it is clipped."""
    return _to_uint8(images + 255.0 * share)


def jpeg(images: Images, quality: int) -> Images:
    """Encode each face as a grey JPEG of this quality, 0..100, and decode it again."""
    return _each(images, partial(_through_jpeg, quality=quality))


def blur(images: Images, sigma_px: float) -> Images:
    """Gaussian blur with a deviation of sigma_px pixels of the 48x48 face."""

    def blurred(face: Images) -> Images:
        smooth: Images = cv2.GaussianBlur(face, (0, 0), sigma_px, borderType=cv2.BORDER_REPLICATE)
        return smooth

    return _each(images, blurred)


def fewer_pixels(images: Images, side_px: int) -> Images:
    """Shrink each face to side_px by area, then enlarge it bilinearly, as the daemon does."""

    def coarse(face: Images) -> Images:
        small = cv2.resize(face, (side_px, side_px), interpolation=cv2.INTER_AREA)
        large: Images = cv2.resize(small, (FACE_PX, FACE_PX), interpolation=cv2.INTER_LINEAR)
        return large

    return _each(images, coarse)


def move(
    images: Images,
    right: float = 0.0,
    down: float = 0.0,
    larger: float = 1.0,
    clockwise_deg: float = 0.0,
) -> Images:
    """Shift by fractions of the side, enlarge and turn about the middle; bilinear."""
    matrix = _motion(right, down, larger, clockwise_deg)
    return _each(images, partial(_warped, matrix=matrix))


def jitter(images: Images, shift: float, scale: float, seed: int) -> Images:
    """Shift both ways and scale each face by its own draws, uniform within ± shift and ± scale."""
    rng = np.random.default_rng(seed)
    draws = rng.uniform(-1.0, 1.0, (len(images), 3)) * (shift, shift, scale)
    return np.array(
        [
            _warped(face, _motion(right, down, 1.0 + size, 0.0))
            for face, (right, down, size) in zip(images, draws, strict=True)
        ],
        np.uint8,
    ).reshape(images.shape)


@dataclass(frozen=True)
class Corruption:
    """A change with its variants by name: opposite signs or directions, whose mean is judged.

    aim: the share of accuracy that it is to cost at most, if there is such an aim.
    """

    name: str
    variants: tuple[tuple[str, Callable[[Images], Images]], ...]
    aim: float | None = None


@dataclass(frozen=True)
class Cost:
    """Accuracy under a corruption, the mean over its variants, and what it loses against clean.

    error: the `standard_error` of `lost`. aim: as the corruption's; met: whether it is. variants:
    the accuracy under each, by its name; empty where there is but one.
    """

    name: str
    accuracy: float
    lost: float
    error: float | None
    aim: float | None
    met: bool | None
    variants: dict[str, float]


def costs(
    read: Callable[[Images], NDArray[np.float32]],
    images: Images,
    labels: NDArray[np.int64],
    clean: NDArray[np.bool_],
    seed: int,
) -> list[Cost]:
    """Measure every corruption of images [N, 48, 48].

    read: what gives probabilities [N, 7]; clean: which images it gets right as they are, [N].
    """
    found: list[Cost] = []
    for corruption in corruptions(seed):
        right = {
            name: read(change(images)).argmax(1) == labels for name, change in corruption.variants
        }
        share = np.mean(list(right.values()), axis=0)  # [N], of the variants that are right
        lost = float((clean - share).mean())
        found.append(
            Cost(
                name=corruption.name,
                accuracy=float(share.mean()),
                lost=lost,
                error=standard_error(clean - share),
                aim=corruption.aim,
                met=None if corruption.aim is None else lost <= corruption.aim,
                variants={name: float(r.mean()) for name, r in right.items()}
                if len(right) > 1
                else {},
            )
        )
    return found


def corruptions(seed: int) -> tuple[Corruption, ...]:
    """All that `affectd evaluate --corruptions` measures; `seed` is that of the jitter."""
    return (
        _one("contrast x0.35", partial(contrast, factor=0.35), LIGHT_AIM),
        _one("brightness x0.4", partial(dim, factor=0.4), LIGHT_AIM),
        _one("brightness +0.45", partial(lift, share=0.45), LIGHT_AIM),
        _one("JPEG quality 30", partial(jpeg, quality=30), LIGHT_AIM),
        _one("blur, sigma 1.2 px", partial(blur, sigma_px=1.2)),
        _one("24 px face", partial(fewer_pixels, side_px=24), SMALL_AIM),
        _one("16 px face", partial(fewer_pixels, side_px=16)),
        Corruption(
            "shift ±15 %",
            (
                ("left", partial(move, right=-SHIFT)),
                ("right", partial(move, right=SHIFT)),
                ("up", partial(move, down=-SHIFT)),
                ("down", partial(move, down=SHIFT)),
            ),
        ),
        Corruption(
            "scale ±15 %",
            (("-", partial(move, larger=1.0 - SCALE)), ("+", partial(move, larger=1.0 + SCALE))),
        ),
        _one(
            "jitter within ±15 %",
            partial(jitter, shift=SHIFT, scale=SCALE, seed=seed),
            JITTER_AIM,
        ),
        _roll("roll ±15°", 15.0),
        _roll("roll ±30°", 30.0),
        _roll(f"roll after alignment, ±{RESIDUAL_DEG:.0f}°", RESIDUAL_DEG, ROLL_AIM),
    )


def passes() -> int:
    """How many times `costs` reads all images."""
    return sum(len(corruption.variants) for corruption in corruptions(0))


def _one(name: str, change: Callable[[Images], Images], aim: float | None = None) -> Corruption:
    return Corruption(name, (("", change),), aim)


def _roll(name: str, angle_deg: float, aim: float | None = None) -> Corruption:
    turns = (("-", -angle_deg), ("+", angle_deg))
    return Corruption(
        name, tuple((sign, partial(move, clockwise_deg=angle)) for sign, angle in turns), aim
    )


def _motion(right: float, down: float, larger: float, clockwise_deg: float) -> NDArray[np.float64]:
    """The 2x3 matrix from a pixel of the result to its place in the face, about its middle."""
    angle = math.radians(clockwise_deg)
    cos, sin = math.cos(angle) / larger, math.sin(angle) / larger
    middle = FACE_PX / 2 - 0.5
    x, y = middle + right * FACE_PX, middle + down * FACE_PX
    return np.array(
        [[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y]]
    )


def _warped(face: Images, matrix: NDArray[np.float64]) -> Images:
    moved: Images = cv2.warpAffine(
        face,
        matrix,
        (FACE_PX, FACE_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return moved


def _through_jpeg(face: Images, quality: int) -> Images:
    coded = cv2.imencode(".jpg", face, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = cv2.imdecode(coded, cv2.IMREAD_GRAYSCALE)
    assert decoded is not None  # it was just encoded
    result: Images = decoded.astype(np.uint8, copy=False)
    return result


def _each(images: Images, change: Callable[[Images], Images]) -> Images:
    """Apply a change of one face to all; no face at all gives none."""
    changed: Images = np.array([change(face) for face in images], np.uint8)
    return changed.reshape(images.shape)


def _to_uint8(values: NDArray[np.floating[Any]]) -> Images:
    rounded: Images = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded
