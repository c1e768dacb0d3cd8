"""FROC curves as one SVG, legible on light and dark."""

from collections.abc import Mapping
from html import escape

import numpy as np
import numpy.typing as npt

Points = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]
COLOURS = ("#d1495b", "#2e86ab", "#8d6a9f", "#3a9d6e", "#e09f3e", "#6b7280", "#a0522d", "#111827")
WIDTH, HEIGHT, LEFT, BOTTOM, TOP, PANEL = 1040, 460, 60, 60, 40, 330
GREY = "#808080"


def draw(panels: Mapping[str, Mapping[str, Points]], limit: float) -> str:
    """Return the picture: a panel for each title, steps of sensitivity against false positives per image."""
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        f'font-size="12" fill="{GREY}">'
    ]
    for i, (title, curves) in enumerate(panels.items()):
        parts += _panel(title, curves, colours, limit, LEFT + i * (PANEL + 50))
    x = LEFT + len(panels) * (PANEL + 50)
    for i, name in enumerate(names):
        y = TOP + 10 + 20 * i
        parts.append(f'<path d="M{x} {y}h22" stroke="{colours[name]}" stroke-width="2.5"/>')
        parts.append(f'<text x="{x + 30}" y="{y + 4}">{escape(name)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _panel(title: str, curves: Mapping[str, Points], colours: Mapping[str, str], limit: float, x0: int) -> list[str]:
    height = HEIGHT - TOP - BOTTOM

    def x(value: float) -> float:
        return round(x0 + PANEL * min(value, limit) / limit, 1)

    def y(value: float) -> float:
        return round(TOP + height * (1 - value), 1)

    parts = [f'<text x="{x0}" y="{TOP - 14}" font-weight="bold">{escape(title)}</text>']
    for part in range(6):
        at, rate = part / 5, limit * part / 5
        parts.append(f'<path d="M{x0} {y(at)}h{PANEL}" stroke="{GREY}" stroke-opacity="0.3"/>')
        parts.append(f'<text x="{x0 - 8}" y="{y(at) + 4}" text-anchor="end">{at:.1f}</text>')
        parts.append(f'<text x="{x(rate)}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{rate:.2f}</text>')
    parts.append(
        f'<text x="{x0 + PANEL / 2}" y="{HEIGHT - BOTTOM + 38}" text-anchor="middle">false positives per image</text>'
    )
    for name, (rates, sensitivities) in reversed(curves.items()):
        steps = [f"M{x(0)} {y(0)}"]
        for rate, sensitivity in zip(rates, sensitivities, strict=True):
            if rate > limit:
                steps.append(f"H{x(limit)}")
                break
            steps.append(f"H{x(rate)}V{y(sensitivity)}")
        parts.append(f'<path d="{"".join(steps)}" fill="none" stroke="{colours[name]}" stroke-width="2"/>')
    return parts
