"""Every list of rules of a feature in words, each with its figures: what `show --all-methods` adds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnrules.commands.wording import example_set_words, right_side, through_words

if TYPE_CHECKING:
    from attnrules.queries.card import FeatureCard

_SHOWN_LISTS = (4, 16, 64, 256, 1024, 4096)


def list_lines(card: FeatureCard) -> list[str]:
    """Return the first rules of every method and the figures of every list."""
    lines = []
    if card.stated:
        method, scaling = _stated_list(card)
        lines += ["", f"{method} rules", *_metric_lines(card.metrics, method, scaling)]
    for method, scaling in rule_lists(card):
        lines += ["", *_method_lines(card, method, scaling)]
    return lines


def rule_lists(card: FeatureCard) -> list[tuple[str, str]]:
    """Return method and scaling of each list that has rows in `rules`."""
    return list(dict.fromkeys((rule["method"], rule["scaling"]) for rule in card.rules))


def rule_lines(card: FeatureCard, method: str, scaling: str) -> list[str]:
    """Return the first rules of a list, each with its scores and how it does as it is read."""
    mine = [rule for rule in card.rules if (rule["method"], rule["scaling"]) == (method, scaling)]
    lines = []
    for rank, rows in _by_rank(mine).items():
        v = _range([row["value_score"] for row in rows])
        s = [row["attn_score"] for row in rows if row["attn_score"] is not None]
        scores = f"S {_range(s)}{_distance_words(rows)}, V {v}" if s else f"V {v}"
        lines.append(f"  {rank:3}  {statement(card, rows)}   ({scores}{_as_read(card, rows[0])})")
    return lines


def statements(card: FeatureCard, rules: list[dict[str, Any]]) -> list[str]:
    """Return rules of one list as few statements: keys of one query together, queries of one key together.

    Rules about keys alone or about groups come first, each as it is. Of the pairs, the key or query with most
    rules is stated next; pairs that push a feature up are not stated together with those that hold it down,
    nor those of one head with those of another.
    """
    by_rank = _by_rank(rules)
    left = [rows[0] for rows in by_rank.values() if len(rows) == 1 and rows[0]["query_feature"] is not None]
    lines = [statement(card, rows) for rows in by_rank.values() if rows[0] not in left]
    while left:
        groups = [
            [rule for rule in left if _way(rule, side) == way]
            for side in ("key", "query")
            for way in dict.fromkeys(_way(rule, side) for rule in left)
        ]
        group = max(groups, key=len)
        lines.append(statement(card, group))
        left = [rule for rule in left if rule not in group]
    return lines


def statement(card: FeatureCard, rows: list[dict[str, Any]]) -> str:
    """Return rows of rules as one statement: `[key], [key] … [query], [query] → tokens (feature)`.

    The keys of a group, and its queries, are stated together by the tokens through which they act.
    """
    first = rows[0]
    found = [
        row
        for row in card.tokens
        if all((row["method"], row["scaling"], row["rank"]) == _list_and_rank(rule) for rule in rows)
    ]
    words = [_side(rows, "key", found), "…"]
    if first["query_feature"] is not None:
        words.append(_side(rows, "query", found))
    return " ".join([*words, _arrow(rows), right_side(card)]) + through_words(card.feature["head"], rows)


def _way(rule: dict[str, Any], side: str) -> tuple[int, int, str]:
    """Return what rules that are stated together share: a key or query, a head, the way they push."""
    return rule[f"{side}_feature"], rule["through_head"], _arrow([rule])


def _list_and_rank(rule: dict[str, Any]) -> tuple[str, str, int]:
    return rule["method"], rule["scaling"], rule["rank"]


def _side(rows: list[dict[str, Any]], side: str, found: list[dict[str, Any]]) -> str:
    descriptions = {row[f"{side}_feature"]: row[f"{side}_description"] or "never fires" for row in rows}
    if len(descriptions) > 1 and found and found[0][f"{side}_tokens"]:
        plural = {"key": "keys", "query": "queries"}[side]
        return f"[{found[0][f'{side}_tokens']}; {len(descriptions)} {plural}]"
    return ", ".join(f"[{text}]" for text in descriptions.values())


def _arrow(rows: list[dict[str, Any]]) -> str:
    """Return which way the keys push the feature; `mined` rules say when it is active, whatever V is."""
    suppress = all(row["value_score"] < 0 and row["method"] != "mined" for row in rows)
    return "↛" if suppress else "→"


def _stated_list(card: FeatureCard) -> tuple[str, str]:
    """Return method and scaling of the list of stated rules, which has no rows in `rules`."""
    lists = [(row["method"], row["scaling"]) for row in card.metrics if row["kind"] == "rules"]
    return next((each for each in lists if each not in rule_lists(card)), ("", ""))


def _method_lines(card: FeatureCard, method: str, scaling: str) -> list[str]:
    lines = [f"{method} rules ({scaling} scaling)", *rule_lines(card, method, scaling)]
    for kept in card.minimal:
        if (kept["method"], kept["scaling"]) == (method, scaling):
            lines += _minimal_lines(card, kept)
    return [*lines, *_metric_lines(card.metrics, method, scaling)]


def _as_read(card: FeatureCard, rule: dict[str, Any]) -> str:
    """Say how a rule does as it is read: one of the keys anywhere before, one of the queries here."""
    for reading in card.readings:
        if _list_and_rank(reading) == _list_and_rank(rule) and reading["n_matches"]:
            return f"; as read, right at {reading['n_hits']} of {reading['n_matches']} test positions"
    return ""


def _minimal_lines(card: FeatureCard, kept: dict[str, Any]) -> list[str]:
    n_kept = len(kept["ranks"])
    lines = [
        f"  {n_kept} of the first {kept['n_rules']} rules say as much (F1 on the paper's balanced strongest"
        f" test examples {kept['f1']:.2f}, of all {kept['f1_of_list']:.2f}):"
    ]
    return [*lines, *(f"    {line}" for line in statements(card, kept["rules"]))]


def _by_rank(rules: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    by_rank: dict[int, list[dict[str, Any]]] = {}
    for rule in rules:
        by_rank.setdefault(rule["rank"], []).append(rule)
    return by_rank


def _distance_words(rows: list[dict[str, Any]]) -> str:
    """Say where the key stands when the query attends to it as much as S says."""
    distances = sorted({row["attn_distance"] for row in rows if row["attn_distance"] is not None})
    if not distances:
        return ""
    return f" at distance {', '.join(map(str, distances))}"


def _range(values: list[float]) -> str:
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def _metric_lines(metrics: list[dict[str, Any]], method: str, scaling: str) -> list[str]:
    lines = [
        "  rules  precision  recall     F1  F1 at threshold      Spearman  average precision (of ceiling)"
    ]
    example_set = None
    seen: set[int] = set()
    for row in metrics:
        if (row["method"], row["scaling"]) != (method, scaling) or row["n_rules"] not in _SHOWN_LISTS:
            continue
        if row["example_set"] != example_set:
            example_set = row["example_set"]
            seen = set()
            lines.append(f"  {example_set_words(example_set)}, {row['base_rate']:.1%} active:")
        if row["n_rules_used"] in seen:
            continue
        seen.add(row["n_rules_used"])
        lines.append(
            f"  {row['n_rules_used']:5}  {row['precision']:9.3f}  {row['recall']:6.3f}  {row['f1']:5.3f}"
            f"  {_interval(row, 'f1_at_threshold')}  {_number(row['spearman'])}"
            f"  {_interval(row, 'average_precision')} ({_number(row['ceiling_average_precision']).strip()})"
        )
    return lines


def _interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return f"{'—':>19}"
    if row[f"{name}_low"] is None:
        return f"{row[name]:5.3f}{'':14}"
    return f"{row[name]:z5.3f} [{row[f'{name}_low']:z.3f}, {row[f'{name}_high']:z.3f}]"


def _number(value: float | None) -> str:
    return "       —" if value is None else f"{value:8.3f}"
