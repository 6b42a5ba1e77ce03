"""Figures of the pages as inline SVG, styled by the stylesheet; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from markupsafe import Markup, escape

Row = dict[str, Any]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 180, 44, 28


def bars(
    values: Sequence[float], labels: Sequence[str], *, beside: Sequence[float] = (), what: str
) -> Markup:
    """Return a bar chart.

    Arguments:
        labels: one a bar, shown where there is room. beside: what to compare each bar with, as a line.
        what: said to who cannot see it.
    """
    most = max([*values, *beside, 1e-12])
    step = (_WIDTH - _LEFT) / max(1, len(values))
    parts = [_axis(most)]
    every = -(-len(labels) // 10)
    for at, (value, label) in enumerate(zip(values, labels, strict=True)):
        x, top = _LEFT + at * step, _y(value, most)
        parts.append(
            f'<rect class="bar" x="{x + 1:.1f}" y="{top:.1f}" width="{step - 2:.1f}"'
            f' height="{_y(0, most) - top:.1f}"><title>{escape(label)}: {value:.4g}</title></rect>'
        )
        if at < len(beside):
            parts.append(f'<path class="beside" d="M{x:.1f} {_y(beside[at], most):.1f}h{step:.1f}"/>')
        if at % every == 0:
            parts.append(
                f'<text x="{x + step / 2:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{escape(label)}</text>'
            )
    return _svg(parts, what)


def metrics(rows: Sequence[Row], what: str) -> Markup:
    """Return average precision by number of rules, a line a method, beside baselines and ceilings."""
    known = [row for row in rows if row["average_precision"] is not None]
    lists = [row for row in known if row["kind"] == "rules"]
    numbers = sorted({row["n_rules"] for row in lists})
    tops = (row["average_precision_high"] or row["average_precision"] for row in known)
    most = max([*tops, 1e-12])
    room = _WIDTH - _LEFT - 118
    x_of = {n: _LEFT + room * (at + 0.5) / max(1, len(numbers)) for at, n in enumerate(numbers)}
    parts = [_axis(most)]
    parts += [
        f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{n}</text>' for n, x in x_of.items()
    ]
    names: list[tuple[float, str, str]] = []
    for row in (row for row in known if row["kind"] != "rules"):
        y = _y(row["average_precision"], most)
        parts.append(f'<path class="{escape(row["kind"])}" d="M{_LEFT} {y:.1f}h{room:.1f}"/>')
        names.append((y, row["method"].replace("_", " "), row["kind"]))
    by_list = lambda row: (row["method"], row["scaling"])  # noqa: E731
    for place, ((method, _), of_list) in enumerate(groupby(sorted(lists, key=by_list), by_list)):
        ordered = sorted(of_list, key=lambda row: row["n_rules"])
        parts += _line(ordered, x_of, most, place)
        names.append((_y(ordered[-1]["average_precision"], most), method.replace("_", " "), f"m{place % 6}"))
    return _svg([*parts, *_names(names)], what)


def decay(series: Sequence[tuple[str, Sequence[float]]], what: str) -> Markup:
    """Return how the activation falls with the number of tokens inserted, a line a kind of token."""
    most = max([value for _, values in series for value in values] + [1e-12])
    n = max(len(values) for _, values in series)
    room = _WIDTH - _LEFT - 118
    parts = [_axis(most)]
    x_of = [_LEFT + room * at / max(1, n - 1) for at in range(n)]
    parts += [
        f'<text x="{x:.1f}" y="{_HEIGHT - 10}" text-anchor="middle">{at}</text>' for at, x in enumerate(x_of)
    ]
    names = []
    for place, (name, values) in enumerate(series):
        points = [(x_of[at], _y(value, most)) for at, value in enumerate(values)]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        parts.append(f'<path class="line m{place}" d="M{path}"/>')
        names.append((points[-1][1], name, f"m{place}"))
    return _svg([*parts, *_names(names)], what)


def _line(rows: Sequence[Row], x_of: dict[int, float], most: float, place: int) -> list[str]:
    shift = 3 * (place % 6) - 6
    points = [(x_of[row["n_rules"]] + shift, _y(row["average_precision"], most)) for row in rows]
    parts = [f'<path class="line m{place % 6}" d="M{"L".join(f"{x:.1f} {y:.1f}" for x, y in points)}"/>']
    for row, (x, y) in zip(rows, points, strict=True):
        if row["average_precision_low"] is not None:
            low, high = (_y(row[f"average_precision_{end}"], most) for end in ("low", "high"))
            parts.append(f'<path class="whisker m{place % 6}" d="M{x:.1f} {low:.1f}V{high:.1f}"/>')
        label = f"{row['method']}, {row['n_rules_used']} rules: {row['average_precision']:.3f}"
        parts.append(
            f'<circle class="dot m{place % 6}" cx="{x:.1f}" cy="{y:.1f}" r="3">'
            f"<title>{escape(label)}</title></circle>"
        )
    return parts


def _names(names: list[tuple[float, str, str]]) -> list[str]:
    """Write names at the right, moved apart where they would lie over each other."""
    parts, free = [], 8.0
    for y, name, kind in sorted(names):
        free = max(free, y)
        parts.append(
            f'<text class="name {escape(kind)}" x="{_WIDTH - 114}" y="{free + 4:.1f}">{escape(name)}</text>'
        )
        free += 12
    return parts


def _y(value: float, most: float) -> float:
    return (_HEIGHT - _BOTTOM) * (1 - value / most) + 4


def _axis(most: float) -> str:
    return "".join(
        f'<path class="grid" d="M{_LEFT} {_y(most * share, most):.1f}H{_WIDTH}"/>'
        f'<text x="{_LEFT - 6}" y="{_y(most * share, most) + 4:.1f}" text-anchor="end">'
        f"{most * share:.3g}</text>"
        for share in (0, 0.5, 1)
    )


def _svg(parts: Sequence[str], what: str) -> Markup:
    # The parts are made of numbers and of texts that are escaped where they are put in.
    inside = "".join(parts)
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 6}" role="img" aria-label="{escape(what)}">{inside}</svg>'
    )
