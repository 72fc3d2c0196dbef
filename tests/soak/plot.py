"""Memory, threads and open files over a soak, with the faults where they came."""

from __future__ import annotations

from pathlib import Path

from tests.soak.judge import WARM_UP
from tests.soak.soak import Course

_INK, _MUTED, _FAULT, _WARM = "#1f2933", "#5f6b76", "#D55E00", "#eef1f4"


def plot(course: Course, path: Path) -> bool:
    """Write a PNG. False where there is no matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    figure = Figure(figsize=(9, 6.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(4, 1, sharex=True, height_ratios=(3, 3, 3, 1))
    minutes = [one.at_s / 60 for one in course.samples]
    curves: dict[str, list[float]] = {
        "memory, MB": [one.rss_mb for one in course.samples],
        "threads": [float(one.threads) for one in course.samples],
        "open files": [float(one.fds) for one in course.samples],
    }
    for axis, (name, values) in zip(axes, curves.items(), strict=False):
        axis.plot(minutes, values, color=_INK, linewidth=1.2)
        axis.set_ylim(0, 1.15 * max(values))
        axis.set_ylabel(name, color=_MUTED)
    faults = [one.caused_at_s / 60 for one in course.injections]
    axes[3].eventplot(faults, colors=_FAULT, linelengths=0.8, linewidths=1.2)
    axes[3].set_yticks([])
    axes[3].set_ylabel("faults", color=_MUTED)
    axes[3].set_xlabel("minutes", color=_MUTED)
    for axis in axes:
        axis.axvspan(0, minutes[-1] * WARM_UP, color=_WARM, zorder=0)
        axis.set_xlim(0, minutes[-1])
        axis.tick_params(colors=_MUTED)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    plan = course.plan
    axes[0].set_title(
        f"{plan.streams} streams, {len(faults)} faults, seed {plan.seed}; shaded: warm-up",
        loc="left",
        color=_INK,
        fontsize=10,
    )
    figure.savefig(path, dpi=110)
    return True
