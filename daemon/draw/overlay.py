"""Faces drawn onto the planes of a frame: box, label and the probabilities as bars.

Everything opaque lies on even pixels, so that a colour and its brightness end at one edge
although chroma has half the resolution. Nothing converts the frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import av

from daemon.config.settings import OverlaySettings
from daemon.draw import glyphs, placing
from daemon.draw.glyphs import even
from daemon.draw.paint import Canvas, ColourSystem, Paint, Rect, Rgb
from daemon.reading import UNKNOWN, FaceView

WAITING = "…"  # The label of a face that has no reading yet.
DARK: Rgb = (18, 18, 20)
LIGHT: Rgb = (250, 250, 250)
GREY: Rgb = (144, 144, 144)

_FADE = 0.6  # How far the colours of an old reading go towards GREY.
_PANEL_OPACITY = 0.72
_MIN_TEXT_PX = 9  # Below this nobody reads it, so it is left out.


@dataclass(frozen=True, slots=True)
class _Style:
    """What one label looks like in one colour system."""

    fill: Paint
    ink: Paint


@dataclass(frozen=True, slots=True)
class _Kept:
    """What a track looked like when it was last drawn, so that it does not flicker."""

    size_px: int
    plate: int | None = None
    panel: int | None = None


@dataclass(frozen=True, slots=True)
class _Chart:
    """The measures of a bar chart and the names down its side."""

    names: glyphs.Strip
    pitch: int
    pad: int
    gap: int
    bar_width: int
    bar_height: int

    @property
    def size(self) -> tuple[int, int]:
        width = self.names.width + self.gap + self.bar_width + 2 * self.pad
        return width, self.names.height + 2 * self.pad


@lru_cache(maxsize=64)
def _chart(labels: tuple[str, ...], label_px: int) -> _Chart:
    """The chart beside a label of `label_px`: its text is a quarter smaller."""
    size_px = max(_MIN_TEXT_PX + 1, round(0.75 * label_px))
    pitch = even(1.2 * size_px)
    return _Chart(
        names=glyphs.column(tuple(map(_short, labels)), size_px, pitch),
        pitch=pitch,
        pad=max(4, even(0.4 * size_px)),
        gap=max(4, even(0.35 * size_px)),
        bar_width=even(3.6 * size_px),
        bar_height=max(4, even(0.6 * size_px)),
    )


@dataclass(slots=True)
class _Face:
    view: FaceView
    box: Rect
    visible: Rect
    size_px: int
    stale: bool
    parts: Sequence[tuple[glyphs.Strip, _Style]] = ()
    plate: placing.Placement | None = None
    chart: _Chart | None = None
    panel: placing.Placement | None = None


class Overlay:
    """Draws the faces of one stream. One instance a stream, used by one thread at a time."""

    def __init__(self, settings: OverlaySettings) -> None:
        self._settings = settings
        self._rgb = {label: _rgb(colour) for label, colour in settings.colours.items()}
        self._styles: dict[tuple[ColourSystem, str | None, bool], _Style] = {}
        self._kept: dict[int, _Kept] = {}

    def draw(
        self,
        image: av.VideoFrame,
        faces: Sequence[FaceView],
        sliced: Callable[[Sequence[_Face]], Iterable[_Face]] = iter,
    ) -> None:
        """Draw `faces` on `image` (yuv420p or yuvj420p) in place.

        Copies the frame's memory once if the decoder still holds it, and not at all when there
        is nothing to draw; views of its planes taken before are then no longer the frame's.
        Iterates over faces through `sliced`, which may let other threads work in between.
        Raises ValueError for another pixel format.
        """
        whole = Rect(0, 0, image.width, image.height)
        shown = [face for face in (self._face(view, whole) for view in faces) if face]
        if not (self._settings.enabled and shown):
            return
        image.make_writable()
        canvas, system = Canvas(image), ColourSystem.of(image)
        shown.sort(key=lambda face: face.box.area, reverse=True)  # Small ones lie in front.
        self._place(shown, whole, system)
        for face in sliced(shown):
            self._draw_box(canvas, system, face)
        for face in sliced(shown):
            if face.panel and face.chart:
                self._draw_chart(canvas, system, face, face.chart, face.panel.rect)
        for face in sliced(shown):
            if face.plate:
                _draw_plate(canvas, face.plate.rect, face.parts)
        self._kept = {
            face.view.track: _Kept(
                face.size_px,
                face.plate and face.plate.number,
                face.panel and face.panel.number,
            )
            for face in shown
        }

    def _face(self, view: FaceView, whole: Rect) -> _Face | None:
        """The face with its box and text size, or None when nothing of it is in the frame."""
        x, y, width, height = view.box_px
        box = Rect(even(x), even(y), even(x + width), even(y + height))
        visible = box.within(whole)
        if not visible.area:
            return None
        size_px = self._settings.font_px or _text_px(whole, box)
        kept = self._kept.get(view.track)
        if kept and not self._settings.font_px and abs(size_px - kept.size_px) < 0.15 * size_px:
            size_px = kept.size_px
        stale = view.label is not None and view.age_s > self._settings.stale_after_s
        return _Face(view, box, visible, size_px, stale)

    def _place(self, shown: Sequence[_Face], whole: Rect, system: ColourSystem) -> None:
        taken = placing.RectGrid()
        boxes = placing.RectGrid(face.visible for face in shown)
        for face in reversed(shown):
            before = self._kept.get(face.view.track)
            face.parts = self._plate_parts(face, whole, system)
            if not face.parts:
                continue
            width = sum(strip.width for strip, _ in face.parts)
            face.plate = placing.plate(
                face.visible,
                (width, face.parts[0][0].height),
                whole,
                boxes,
                taken,
                before.plate if before else None,
            )
            if face.plate:
                taken.add(face.plate.rect)
        for face in shown:
            if not (self._settings.bars and face.plate and _judged(face.view)):
                continue
            face.chart = _chart(tuple(face.view.probabilities), face.size_px)
            if face.box.height < 0.5 * face.chart.size[1]:  # Too far away for its bars.
                continue
            before = self._kept.get(face.view.track)
            face.panel = placing.panel(
                face.visible,
                face.plate.rect,
                face.chart.size,
                whole,
                boxes,
                taken,
                before.panel if before else None,
            )
            if face.panel:
                taken.add(face.panel.rect)

    def _plate_parts(
        self, face: _Face, whole: Rect, system: ColourSystem
    ) -> list[tuple[glyphs.Strip, _Style]]:
        """The plate from left to right: label, probability, age; as much as the frame holds."""
        view = face.view
        style = self._style(system, view.label, face.stale)
        words = [(WAITING if view.label is None else view.label, style)]
        probability = view.probabilities.get(view.label or UNKNOWN)
        if view.label != UNKNOWN and probability is not None:
            words.append((f"{100 * probability:.0f} %", style))
        if face.stale:
            ink, ground = system.paint(LIGHT), system.paint(DARK)
            words.append((f"{_age(view.age_s)} old", _Style(ground, ink)))
        while words:
            parts = [(glyphs.plate_text(word, face.size_px), look) for word, look in words]
            width = sum(strip.width for strip, _ in parts)
            if width <= whole.width and parts[0][0].height <= whole.height:
                return parts
            fitting = min(whole.width / width, whole.height / parts[0][0].height)
            size_px = int(face.size_px * fitting)
            if size_px >= _MIN_TEXT_PX and size_px < face.size_px:
                face.size_px = size_px
            else:
                words.pop()
        return []

    def _draw_box(self, canvas: Canvas, system: ColourSystem, face: _Face) -> None:
        box, paint = face.box, self._style(system, face.view.label, face.stale).fill
        stroke = _stroke_px(canvas.frame, box)
        if face.view.label is None:
            stroke = max(2, even(stroke / 2))
        shadow = max(2, even(stroke / 2))
        dark = system.paint(DARK).y
        around = Rect(box.x0 - shadow, box.y0 - shadow, box.x1 + shadow, box.y1 + shadow)
        for side in _sides(around, shadow):
            canvas.shade(side, dark, 0.5)
        for side in _sides(box, stroke):
            canvas.fill(side, paint)

    def _draw_chart(
        self, canvas: Canvas, system: ColourSystem, face: _Face, chart: _Chart, where: Rect
    ) -> None:
        canvas.tint(where, system.paint(DARK), _PANEL_OPACITY)
        left, top = where.x0 + chart.pad, where.y0 + chart.pad
        canvas.write(chart.names, left, top, system.paint(LIGHT))
        left += chart.names.width + chart.gap
        for row, (label, probability) in enumerate(face.view.probabilities.items()):
            y = top + row * chart.pitch + (chart.pitch - chart.bar_height) // 4 * 2
            length = max(2, even(chart.bar_width * min(1.0, max(0.0, probability))))
            paint = self._style(system, label, face.stale).fill
            canvas.fill(Rect(left, y, left + length, y + chart.bar_height), paint)

    def _style(self, system: ColourSystem, label: str | None, stale: bool) -> _Style:
        key = system, label, stale
        if key not in self._styles:
            rgb = self._rgb.get(label or UNKNOWN, self._rgb[UNKNOWN])
            if stale:
                rgb = _faded(rgb, GREY, _FADE)
            # At this luminance dark and light ink have equal contrast.
            ink = DARK if _luminance(rgb) > 0.18 else LIGHT
            self._styles[key] = _Style(system.paint(rgb), system.paint(ink))
        return self._styles[key]


def _judged(view: FaceView) -> bool:
    return view.label not in (None, UNKNOWN) and bool(view.probabilities)


def _draw_plate(canvas: Canvas, where: Rect, parts: Sequence[tuple[glyphs.Strip, _Style]]) -> None:
    x = where.x0
    for strip, style in parts:
        canvas.fill(Rect(x, where.y0, x + strip.width, where.y1), style.fill)
        canvas.write(strip, x, where.y0, style.ink)
        x += strip.width


def _text_px(whole: Rect, box: Rect) -> int:
    """Text a sixth of the face's height, but neither tiny nor huge in its frame."""
    short = min(whole.width, whole.height)
    return round(min(max(box.height / 6, 0.017 * short, 12), max(0.03 * short, 12)))


def _stroke_px(whole: Rect, box: Rect) -> int:
    by_frame = 2 * max(1, round(min(whole.width, whole.height) / 720))
    return max(2, min(by_frame, even(min(box.width, box.height) / 12)))


def _sides(box: Rect, stroke: int) -> tuple[Rect, Rect, Rect, Rect]:
    """The border of `box`, `stroke` thick, inside it and without overlap."""
    x0, y0, x1, y1 = box
    upper, lower = min(y0 + stroke, y1), max(y1 - stroke, y0)
    return (
        Rect(x0, y0, x1, upper),
        Rect(x0, lower, x1, y1),
        Rect(x0, upper, min(x0 + stroke, x1), lower),
        Rect(max(x1 - stroke, x0), upper, x1, lower),
    )


def _short(label: str) -> str:
    return label if len(label) <= 4 else label[:3]


def _age(age_s: float) -> str:
    if age_s < 10:
        return f"{age_s:.1f} s"
    if age_s < 100:
        return f"{age_s:.0f} s"
    return f"{min(age_s / 60, 99):.0f} min"


def _rgb(colour: str) -> Rgb:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _faded(rgb: Rgb, towards: Rgb, share: float) -> Rgb:
    r, g, b = (round(old + (new - old) * share) for old, new in zip(rgb, towards, strict=True))
    return r, g, b


def _luminance(rgb: Rgb) -> float:
    """Relative luminance 0..1 as WCAG 2 defines it."""
    r, g, b = (
        v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4
        for v in (value / 255 for value in rgb)
    )
    return 0.2126 * r + 0.7152 * g + 0.0722 * b
