"""Figures of the pages as inline SVG, styled by the stylesheet; every text in them is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, groupby
from typing import Any

from markupsafe import Markup, escape

Row = dict[str, Any]

_WIDTH, _HEIGHT, _LEFT, _BOTTOM = 420, 180, 44, 28
# Room for the names of lines.
_NAMES = 134
# Of figures with a line a row: width, the room for labels and for arcs, and the height of a row.
_WIDE, _LABELS, _ARCS, _ROW = 640, 300, 130, 20
_SOFT = 'class="name baseline"'


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
    room = _WIDTH - _LEFT - _NAMES
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
    room = _WIDTH - _LEFT - _NAMES
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


def waterfall(parts: Sequence[tuple[str, float]], total: tuple[str, float], what: str) -> Markup:
    """Return parts that add up to a total: each bar begins where the one above ends, its size beside it."""
    ends = list(accumulate((value for _, value in parts), initial=0.0))
    low, high = min(*ends, total[1]), max(*ends, total[1])
    scale = (_WIDE - _LABELS - 64) / (high - low or 1.0)
    height = _ROW * (len(parts) + 1)
    found = [f'<path class="grid" d="M{_LABELS - low * scale:.1f} 0V{height}"/>']
    rows = [(label, value, start) for (label, value), start in zip(parts, ends, strict=False)]
    for place, (label, value, start) in enumerate([*rows, (*total, 0.0)]):
        kind = "total" if place == len(parts) else "up" if value >= 0 else "down"
        left, y = _LABELS + scale * (min(start, start + value) - low), place * _ROW
        width = max(1.0, scale * abs(value))
        found += [
            _text(label, _LABELS - 8, y + 14, f'class="{kind}" text-anchor="end"', longest=46),
            _part(kind, left, y + 3, width),
            _text(f"{value:+z.3f}", _WIDE, y + 14, 'text-anchor="end"'),
        ]
    return _svg(found, what, (_WIDE, height))


def arcs(tokens: Sequence[Row], query_pos: int, what: str) -> Markup:
    """Return a text read downwards: arcs from its query token to each source, as thick as the attention.

    Arguments:
        tokens: pos, token, and of sources attention and contribution (None: not known), in order; where
            positions are left out a line says how many.
    """
    lines = _lines(tokens)
    y_of = {row["pos"]: place * _ROW + 14 for place, (row, _) in enumerate(lines) if row is not None}
    largest = max((abs(row["contribution"] or 0.0) for row in tokens), default=0.0) or 1.0
    far = max(1, len(lines) - 1)
    found = []
    for place, (row, n_left_out) in enumerate(lines):
        y = place * _ROW + 14
        if row is None:
            found.append(_text(f"⋮ {n_left_out} more", _ARCS + 8, y, _SOFT))
            continue
        kind = 'class="query"' if row["pos"] == query_pos else ""
        found.append(_text(row["token"], _ARCS + 8, y, kind, longest=22))
        if row["attention"]:
            found.append(_arc(row, y_of[query_pos], y, (_ARCS - 30) / far / _ROW))
        if row["contribution"] is not None:
            width = max(1.0, (_WIDE - _ARCS - 250) * abs(row["contribution"]) / largest)
            found += [
                _part("up" if row["contribution"] >= 0 else "down", _ARCS + 180, y - 11, width),
                _text(f"{row['contribution']:+z.3f}", _ARCS + 186 + width, y),
            ]
    return _svg(found, what, (_WIDE, _ROW * len(lines)))


def _arc(row: Row, from_y: float, to_y: float, depth: float) -> str:
    """Return an arc from the query to a source, with its attention where there is room; a dot for itself."""
    attention = row["attention"]
    title = f"<title>attention {attention:.3f} to {escape(row['token'])}</title>"
    y, x = to_y - 5, _ARCS
    if from_y == to_y:
        size = 1.5 + 4 * attention
        return f'<circle class="arc-dot" cx="{x}" cy="{y}" r="{size:.1f}">{title}</circle>'
    out = x - 26 - abs(from_y - to_y) * depth
    said = _text(f"{attention:.2f}", x - 6, y - 3, f'{_SOFT} text-anchor="end"')
    return (
        f'<path class="arc" stroke-width="{0.6 + 7 * attention:.1f}"'
        f' opacity="{min(1.0, 0.35 + attention):.2f}"'
        f' d="M{x} {from_y - 5:.1f}C{out:.1f} {from_y - 5:.1f} {out:.1f} {y:.1f} {x} {y:.1f}">{title}</path>'
        f"{said if attention >= 0.1 else ''}"
    )


def _text(words: str, x: float, y: float, attributes: str = "", longest: int = 80) -> str:
    """Return a text, cut where it is longer, all of it as a title then."""
    cut = len(words) > longest
    title = f"<title>{escape(words)}</title>" if cut else ""
    shown = escape(words[: longest - 1] + "…" if cut else words)
    return f'<text {attributes} x="{x:.1f}" y="{y:.1f}">{shown}{title}</text>'


def _part(kind: str, x: float, y: float, width: float) -> str:
    return f'<rect class="part {kind}" x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_ROW - 6}"/>'


def _lines(tokens: Sequence[Row]) -> list[tuple[Row | None, int]]:
    """Return the tokens, with a line for each run of positions that is left out and its length."""
    found: list[tuple[Row | None, int]] = []
    last = -1
    for row in tokens:
        if row["pos"] > last + 1:
            found.append((None, row["pos"] - last - 1))
        found.append((row, 0))
        last = row["pos"]
    return found


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
        at = f'x="{_WIDTH - _NAMES + 4}" y="{free + 4:.1f}"'
        parts.append(f'<text class="name {escape(kind)}" {at}>{escape(name)}</text>')
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


def _svg(parts: Sequence[str], what: str, size: tuple[int, int] = (_WIDTH, _HEIGHT + 6)) -> Markup:
    # The parts are made of numbers and of texts that are escaped where they are put in.
    inside, wide = "".join(parts), ' class="wide"' if size[0] == _WIDE else ""
    return Markup(
        f'<svg{wide} viewBox="0 0 {size[0]} {size[1]}" role="img" aria-label="{escape(what)}">{inside}</svg>'
    )
