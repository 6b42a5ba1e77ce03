"""Rules counted in the corpus: `mined` (method.md section 3.4), for all features of an SAE at once.

SQL selects rows of a range of sequences; pairs are counted in numpy. As joins, the matches of a head of GPT-2
small's size would be hundreds of billions of rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.queries.arrays import Floats, Ints, arrays, top_k
from attnrules.queries.csr import Grouped
from attnrules.queries.intervals import wilson
from attnrules.queries.skipgrams.finding import Batch, RankedRules, Search
from attnrules.queries.skipgrams.weighted import PAIR_POSITIONS, KeyMeans, leading_keys
from attnrules.sql import Statements
from attnrules.warehouse.arrow import numpy_column

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "skipgrams")

Firsts = npt.NDArray[np.int32]

# Pairs of a feature that are counted over the whole corpus.
MAX_MINED_PAIRS = 1_024
# Tokens held in memory at once, over the number of heads: with 20 active features and 10 sources each, 1 GB.
_TOKENS_AT_ONCE = 1 << 21
# Positions that are compared in the time in which a token's later positions of one query are counted.
_TOKENS_PER_LOOK = 6


def mined(search: Search) -> RankedRules:
    """Find the rules of the method `mined`."""
    spec = search.spec
    return mined_rules(
        search.warehouse,
        search.batch,
        search.carried,
        num_values=spec.num_values,
        max_rules=spec.max_rules,
    )


def mined_rules(
    warehouse: Warehouse, batch: Batch, means: KeyMeans, *, num_values: int, max_rules: int
) -> RankedRules:
    """Rank (key, query) pairs by how surely the feature is active where they match (method.md section 3.4).

    `score` is the lower end of the 95% Wilson interval of the precision on train positions, and what a match
    predicts; the support columns count the whole corpus. Candidates are pairs of the first `num_values` keys
    of the key ranking with a query active where the feature is, at most 1,024, those to which
    the model's attention contributes most over at most 1,000 train positions.
    Needs the temporary tables `mined_features` and `train_active` of the same features.
    """
    keys, values = leading_keys(batch, means, num_values)
    pairs, seen = _candidates(warehouse, batch, keys, values)
    found, n_active = _count(warehouse, batch, pairs)
    counted = np.flatnonzero(found.n_hits)
    n_hits, n_matches = found.n_hits[counted], found.n_matches[counted]
    score, _ = wilson(found.n_train_hits[counted], found.n_train_matches[counted])
    low, high = wilson(n_hits, n_matches)
    base = n_active[pairs.row[counted]] / warehouse.rows(step("n_positions"))[0][0]
    support = {
        "support_positions": found.support_positions[counted],
        "support_sequences": found.support_sequences[counted],
        "contribution": pairs.value_score[counted]
        * (found.amount[counted] / np.maximum(found.support_positions[counted], 1)),
        "precision": n_hits / n_matches,
        "recall": n_hits / n_active[pairs.row[counted]],
        "lift": n_hits / n_matches / base,
        "lift_low": low / base,
        "lift_high": high / base,
    }
    order = np.lexsort((pairs.query[counted], pairs.key[counted], -score, pairs.row[counted]))
    order = order[score[order] > 0]
    row = pairs.row[counted][order]
    rank = np.arange(len(order)) - np.searchsorted(row, row) + 1
    best = order[rank <= max_rules]
    i, j = pairs.key[counted][best], pairs.query[counted][best]
    return RankedRules(
        feature=batch.features[pairs.row[counted][best]],
        rank=rank[rank <= max_rules],
        key_feature=i,
        query_feature=j,
        attn_score=batch.scores.at_pairs(i, j)[0],
        value_score=pairs.value_score[counted][best],
        score=score[best],
        support={name: column[best] for name, column in support.items()},
        contribution=(float(np.abs(pairs.contribution).sum()), seen),
    )


@dataclass(frozen=True)
class _Pairs:
    """Candidate pairs, [n_pairs] each, in order of `row`, the place of their feature in the batch.

    Keys are numbered as in `HeadScores`, queries by input feature.
    """

    row: Ints
    key: Ints
    query: Ints
    value_score: Floats
    contribution: Floats


@dataclass(frozen=True)
class _Counts:
    """What the corpus says of each pair, [n_pairs] each; sums over ranges of sequences."""

    n_matches: Ints
    n_train_matches: Ints
    n_hits: Ints
    n_train_hits: Ints
    support_positions: Ints
    support_sequences: Ints
    amount: Floats

    @classmethod
    def zero(cls, n_pairs: int) -> _Counts:
        n = np.zeros((6, n_pairs), np.int64)
        return cls(n[0], n[1], n[2], n[3], n[4], n[5], np.zeros(n_pairs))


@dataclass(frozen=True)
class _Span:
    """A range of sequences in memory, those of the train part first.

    A token is numbered by the place of its sequence * seq_len + pos.

    Arguments:
        place: [n_sequences], place of the sequence `begin` + index. n_train: sequences of the train part.
        inputs: by token, `feature` and `activation`. sources: of each head, by token of the query, the
            `key` token and `weight`.
    """

    begin: int
    seq_len: int
    place: Ints
    n_train: int
    inputs: Grouped
    sources: list[Grouped]

    @property
    def n_tokens(self) -> int:
        return len(self.place) * self.seq_len

    @property
    def range(self) -> dict[str, object]:
        return {"begin": self.begin, "last": self.begin + len(self.place) - 1}

    def tokens(self, rows: dict[str, Any], pos: str = "pos") -> Ints:
        return np.asarray(self.place[rows["seq_id"] - self.begin] * self.seq_len + rows[pos])


def _spans(warehouse: Warehouse, batch: Batch) -> Iterator[_Span]:
    seq_len, n_sequences = warehouse.rows(step("corpus_size"))[0]
    at_once = max(1, _TOKENS_AT_ONCE // len(batch.scores.through) // seq_len)
    for begin in range(0, n_sequences, at_once):
        n = min(at_once, n_sequences - begin)
        chosen = {"begin": begin, "last": begin + n - 1}
        train = arrays(warehouse, step("train_sequences"), chosen)["seq_id"] - begin
        place = np.empty(n, np.int64)
        place[np.r_[train, np.setdiff1d(np.arange(n), train)]] = np.arange(n)
        empty = Grouped.by(np.zeros(0, np.int64), n * seq_len, {})
        span = _Span(begin, seq_len, place, len(train), empty, [])
        rows = _narrow(warehouse, "span_inputs", {**chosen, "layer": batch.layer})
        inputs = Grouped.by(
            span.tokens(rows),
            span.n_tokens,
            {name: rows[name] for name in ("feature", "activation")},
            then=rows["feature"],
        )
        sources = []
        for _, at in batch.attending():
            rows = _narrow(warehouse, "span_sources", {**chosen, **at, "bos_keys": batch.bos_keys})
            key = span.tokens(rows, "key_pos").astype(np.int32)
            sources.append(
                Grouped.by(
                    span.tokens(rows, "query_pos"),
                    span.n_tokens,
                    {"key": key, "weight": rows["weight"]},
                    then=rows["key_pos"],
                )
            )
        del rows
        yield _Span(begin, seq_len, place, len(train), inputs, sources)


def _narrow(warehouse: Warehouse, name: str, parameters: dict[str, object]) -> dict[str, Any]:
    """Return the columns of a step's result in their stored types: a range has tens of millions of rows."""
    table = warehouse.sql(step(name), parameters).to_arrow_table()
    return {column: numpy_column(table.column(column)) for column in table.column_names}


def _candidates(warehouse: Warehouse, batch: Batch, keys: Ints, values: Floats) -> tuple[_Pairs, float]:
    """Return the pairs to count, and the size of what all pairs contribute that were seen."""
    n_features, n_keys = keys.shape
    order = np.argsort(keys, axis=1)
    keys, values = np.take_along_axis(keys, order, axis=1), np.take_along_axis(values, order, axis=1)
    column = np.full(len(batch.scores.keys), -1)
    reached: list[list[tuple[Any, ...]]] = [[] for _ in range(n_features)]
    for span in _spans(warehouse, batch):
        rows = arrays(warehouse, step("sampled_active"), {**span.range, "n_most": PAIR_POSITIONS})
        token = span.tokens(rows)
        row_of = np.searchsorted(batch.features, rows["feature"])
        sample = Grouped.by(row_of, n_features, {"token": token}, then=token)
        for row in np.flatnonzero(sample.n).tolist():
            tokens = sample.values["token"][sample.one(row)]
            column[keys[row]] = np.arange(n_keys)
            cell, amount = _reached(span, tokens, column, n_keys)
            column[keys[row]] = -1
            at = span.inputs.rows(tokens)
            reached[row].append(
                (
                    cell.astype(np.int32),
                    amount,
                    span.inputs.values["feature"][at],
                    span.inputs.n[tokens],
                )
            )
    seen, parts = 0.0, []
    for row, found in enumerate(reached):
        size, part = _largest(found, keys[row], values[row])
        seen += size
        parts.append((np.full(len(part[0]), row), *part))
        found.clear()
    return _Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True))), seen


def _reached(span: _Span, tokens: Ints, column: Ints, n_columns: int) -> tuple[Ints, Floats]:
    """Return what attention of the model carries to the tokens from the keys that have a column.

    Cells are row of `tokens` * `n_columns` + column, ascending, those that are attended to alone.
    """
    of_heads = [
        _addends(span, sources, tokens, own, n_columns)
        for sources, own in zip(span.sources, np.split(column, len(span.sources)), strict=True)
    ]
    cell, amount = (np.concatenate(parts) for parts in zip(*of_heads, strict=True))
    n_cells = len(tokens) * n_columns
    found = np.flatnonzero(np.bincount(cell, minlength=n_cells))
    return np.asarray(found), np.bincount(cell, amount, n_cells)[found].astype(np.float64)


def _addends(
    span: _Span, sources: Grouped, tokens: Ints, column: Ints, n_columns: int
) -> tuple[Ints, Floats]:
    """Return the cell of each active feature of each source of a head, and what it carries."""
    at = sources.rows(tokens)
    key = sources.values["key"][at]
    n = span.inputs.n[key]
    entry = span.inputs.rows(key)
    of = column[span.inputs.values["feature"][entry]]
    kept = np.flatnonzero(of >= 0)
    row = np.repeat(np.arange(len(tokens)), sources.n[tokens])
    weight = sources.values["weight"][at].astype(np.float64)
    cell = np.repeat(row * n_columns, n)[kept] + of[kept]
    return cell, np.repeat(weight, n)[kept] * span.inputs.values["activation"][entry[kept]]


def _largest(
    found: list[tuple[Any, ...]], keys: Ints, values: Floats
) -> tuple[float, tuple[Ints, Ints, Floats, Floats]]:
    """Return the size of what all pairs contribute, and (key, query, V(f,i), contribution) of the largest.

    Arguments:
        found: per range of sequences, cells of positions and keys with what they receive, and the queries
            of the positions with their number at each. keys, values: [n_keys], ascending by key, and V(f,i).
    """
    queries = np.unique(np.concatenate([q for _, _, q, _ in found] or [np.zeros(0, np.int64)]))
    total = np.zeros(len(keys) * len(queries))
    exists = np.zeros(len(total), bool)
    for cell, amount, query, n_queries in found:
        position, key = np.divmod(cell, len(keys))
        n = n_queries[position]
        ends = np.cumsum(n_queries)
        at = np.repeat((ends - n_queries)[position] - (np.cumsum(n) - n), n) + np.arange(n.sum())
        pair = np.repeat(key * len(queries), n) + np.searchsorted(queries, query)[at]
        total += np.bincount(pair, np.repeat(amount, n), len(total))
        exists[pair] = True
    contribution = np.repeat(values, len(queries)) * total
    pairs = np.flatnonzero(exists)
    size = np.abs(contribution[pairs])
    if len(pairs):
        pairs = pairs[np.sort(top_k(size[None], MAX_MINED_PAIRS)[0])]
    key, query = np.divmod(pairs, max(1, len(queries)))
    return float(size.sum()), (
        keys[key],
        queries[query].astype(np.int64),
        values[key],
        contribution[pairs],
    )


def _count(warehouse: Warehouse, batch: Batch, pairs: _Pairs) -> tuple[_Counts, Ints]:
    """Count the pairs in the corpus; return also the positions where each feature is active."""
    counts = _Counts.zero(len(pairs.row))
    n_active = np.zeros(len(batch.features), np.int64)
    bounds = np.searchsorted(pairs.row, np.arange(len(batch.features) + 1))
    n_inputs = batch.scores.n_inputs
    key_column, query_column = np.full(len(batch.scores.keys), -1), np.full(n_inputs, -1)
    for span in _spans(warehouse, batch):
        firsts, queries = _by_feature(span, n_inputs, bos_keys=batch.bos_keys)
        _count_matches(span, queries, firsts, pairs, counts)
        del queries
        rows = arrays(warehouse, step("span_outputs"), {**span.range, **batch.at})
        active = Grouped.by(
            np.searchsorted(batch.features, rows["feature"]),
            len(batch.features),
            {"token": span.tokens(rows)},
        )
        n_active += active.n
        rows = arrays(warehouse, step("held_out_sequences"), {**span.range, **batch.at})
        held_out = Grouped.by(
            np.searchsorted(batch.features, rows["feature"]),
            len(batch.features),
            {"place": span.place[rows["seq_id"] - span.begin]},
        )
        for row in np.flatnonzero(np.diff(bounds)).tolist():
            own = slice(bounds[row], bounds[row + 1])
            sides = _Sides.of(pairs.key[own], pairs.query[own], key_column, query_column)
            out = held_out.values["place"][held_out.one(row)]
            first = _first_of_keys(span, firsts, sides)
            _count_active(span, first, sides, active.values["token"][active.one(row)], out, counts, own)
            _leave_out(span, first, sides, out, counts, own)
            key_column[sides.keys] = query_column[sides.queries] = -1
    return counts, n_active


def _by_feature(span: _Span, n_inputs: int, *, bos_keys: bool) -> tuple[Grouped, Grouped]:
    """Return by input feature the first tokens where it can be a key, and the tokens where it can be a query.

    Tokens are ascending; `place` is that of their sequence.
    """
    token = np.repeat(np.arange(span.n_tokens, dtype=np.int32), span.inputs.n)
    active = Grouped.by(
        span.inputs.values["feature"], n_inputs, {"token": token, "place": token // np.int32(span.seq_len)}
    )
    queries = _filtered(active, active.values["token"] % span.seq_len > 0)
    return _first_tokens(active if bos_keys else queries), queries


def _filtered(grouped: Grouped, kept: Any) -> Grouped:
    """Return the rows that are True in `kept`."""
    before = np.concatenate([[0], np.cumsum(kept)])
    first = before[grouped.first]
    values = {name: column[kept] for name, column in grouped.values.items()}
    return Grouped(first, before[grouped.first + grouped.n] - first, values)


def _first_tokens(possible: Grouped) -> Grouped:
    """Return by input feature the first token of each sequence where it can be a key, ascending."""
    place = possible.values["place"]
    is_first = np.ones(len(place), bool)
    is_first[1:] = place[1:] != place[:-1]
    is_first[possible.first[possible.n > 0]] = True
    return _filtered(possible, is_first)


def _count_matches(span: _Span, queries: Grouped, firsts: Grouped, pairs: _Pairs, counts: _Counts) -> None:
    """Add the positions where pairs match: those of the query from the first position of the key on.

    By looking at the first positions of the key or at the positions of the query, whichever costs less.
    """
    n_inputs = len(firsts.n)
    distinct, to_pair = np.unique(pairs.query * n_inputs + pairs.key % n_inputs, return_inverse=True)
    query, key = np.divmod(distinct, n_inputs)
    found = np.zeros((len(distinct), 2), np.int64)
    at_queries = np.bincount(query, queries.n[query], n_inputs)
    at_keys = np.bincount(query, firsts.n[key], n_inputs) + _TOKENS_PER_LOOK * span.n_tokens
    by_query = (at_queries > at_keys)[query]
    _look_at_keys(span, queries, firsts, query, key, np.flatnonzero(by_query), found)
    _look_at_queries(span, queries, firsts, query, key, np.flatnonzero(~by_query), found)
    counts.n_train_matches[:] += found[to_pair, 0]
    counts.n_matches[:] += found[to_pair].sum(axis=1)


def _look_at_keys(
    span: _Span, queries: Grouped, firsts: Grouped, query: Ints, key: Ints, chosen: Ints, found: Ints
) -> None:
    """Count query by query how many of its positions are still to come at the first positions of keys."""
    token, ends = firsts.values["token"], _train_ends(span, firsts)
    before = np.zeros(span.n_tokens + 1, np.int32)
    for j, rows in _runs(query, chosen):
        here = np.zeros(span.n_tokens, np.int32)
        here[queries.values["token"][queries.one(j)]] = 1
        np.cumsum(here, out=before[1:])
        to_come = (before[span.seq_len :: span.seq_len, None] - before[:-1].reshape(-1, span.seq_len)).ravel()
        for row in rows:
            i = key[row]
            after, n_train = to_come[token[firsts.one(i)]], ends[i] - firsts.first[i]
            found[row] = np.add.reduce(after[:n_train]), np.add.reduce(after[n_train:])


def _look_at_queries(
    span: _Span, queries: Grouped, firsts: Grouped, query: Ints, key: Ints, chosen: Ints, found: Ints
) -> None:
    """Count key by key at which positions of queries it has come."""
    token, place, ends = queries.values["token"], queries.values["place"], _train_ends(span, queries)
    for i, rows in _runs(key, chosen[np.argsort(key[chosen], kind="stable")]):
        first = np.full(len(span.place), span.n_tokens, np.int32)
        own = firsts.one(i)
        first[firsts.values["place"][own]] = firsts.values["token"][own]
        for row in rows:
            j = query[row]
            at = queries.one(j)
            has_come, n_train = first[place[at]] <= token[at], ends[j] - queries.first[j]
            found[row] = np.count_nonzero(has_come[:n_train]), np.count_nonzero(has_come[n_train:])


def _runs(group: Ints, rows: Ints) -> Iterator[tuple[int, Ints]]:
    """Return each group with its rows; `rows` are in order of their group."""
    groups, starts = np.unique(group[rows], return_index=True)
    yield from zip(groups.tolist(), np.split(rows, starts[1:]), strict=False)


def _train_ends(span: _Span, grouped: Grouped) -> Ints:
    """Return for each group the end of its rows of train sequences, which come first."""
    in_train = np.concatenate([[0], np.cumsum(grouped.values["place"] < span.n_train)])
    return np.asarray(grouped.first + in_train[grouped.first + grouped.n] - in_train[grouped.first])


@dataclass(frozen=True)
class _Sides:
    """The pairs of one feature: [n_pairs], by places in its distinct keys and queries.

    Arguments:
        key_column, query_column: by key and by input feature, its place, -1 for others.
    """

    keys: Ints
    queries: Ints
    key: Ints
    query: Ints
    key_column: Ints
    query_column: Ints

    @classmethod
    def of(cls, key: Ints, query: Ints, key_column: Ints, query_column: Ints) -> _Sides:
        """Fill in the columns, which are -1 everywhere."""
        keys, of_key = np.unique(key, return_inverse=True)
        queries, of_query = np.unique(query, return_inverse=True)
        key_column[keys], query_column[queries] = np.arange(len(keys)), np.arange(len(queries))
        return cls(keys, queries, of_key, of_query, key_column, query_column)


def _query_active(span: _Span, sides: _Sides, tokens: Ints) -> tuple[Ints, Ints]:
    """Return (pair, row of `tokens`) where the query of a pair is active, in order of both."""
    at = span.inputs.rows(tokens)
    of = sides.query_column[span.inputs.values["feature"][at]]
    kept = np.flatnonzero(of >= 0)
    row = np.repeat(np.arange(len(tokens)), span.inputs.n[tokens])[kept]
    hits = Grouped.by(of[kept], len(sides.queries), {"row": row})
    pair = np.repeat(np.arange(len(sides.query)), hits.n[sides.query])
    return pair, hits.values["row"][hits.rows(sides.query)]


def _first_of_keys(span: _Span, firsts: Grouped, sides: _Sides) -> Firsts:
    """Return the first token of each key in each sequence, `n_tokens` for none: [n_sequences, n_keys]."""
    first = np.full((len(span.place), len(sides.keys)), span.n_tokens, np.int32)
    features = sides.keys % len(firsts.n)
    rows = firsts.rows(features)
    key = np.repeat(np.arange(len(sides.keys)), firsts.n[features])
    first[firsts.values["place"][rows], key] = firsts.values["token"][rows]
    return first


def _has_come(span: _Span, first: Firsts, tokens: Ints) -> Any:
    """Return whether each key was active at each token or before in its sequence: [n_tokens * n_keys]."""
    return (first[tokens // span.seq_len] <= tokens[:, None]).ravel()


def _count_active(
    span: _Span, first: Firsts, sides: _Sides, tokens: Ints, held_out: Ints, counts: _Counts, own: slice
) -> None:
    """Add what holds at the tokens, ascending or not, where the feature is active: hits and support."""
    tokens = np.sort(tokens)
    place = tokens // span.seq_len
    is_train = (place < span.n_train) & ~np.isin(place, held_out)
    n_pairs, n_keys = len(sides.key), len(sides.keys)
    pair, row = _query_active(span, sides, tokens)
    cell = row * n_keys + sides.key[pair]
    hit = _has_come(span, first, tokens)[cell]
    counts.n_hits[own] += np.bincount(pair[hit], minlength=n_pairs)
    counts.n_train_hits[own] += np.bincount(pair[hit & is_train[row]], minlength=n_pairs)
    reached, received = _reached(span, tokens, sides.key_column, n_keys)
    amount = np.full(len(tokens) * n_keys, np.nan)
    amount[reached] = received
    added = amount[cell]
    attended = np.flatnonzero(~np.isnan(added))
    pair, of = pair[attended], place[row[attended]]
    counts.support_positions[own] += np.bincount(pair, minlength=n_pairs)
    counts.amount[own] += np.bincount(pair, added[attended], n_pairs)
    is_new = np.ones(len(pair), bool)
    is_new[1:] = (pair[1:] != pair[:-1]) | (of[1:] != of[:-1])
    counts.support_sequences[own] += np.bincount(pair[is_new], minlength=n_pairs)


def _leave_out(
    span: _Span, first: Firsts, sides: _Sides, held_out: Ints, counts: _Counts, own: slice
) -> None:
    """Take matches in sequences with a val or test example of the feature from those of the train part."""
    tokens = (np.sort(held_out)[:, None] * span.seq_len + np.arange(1, span.seq_len)).ravel()
    pair, row = _query_active(span, sides, tokens)
    hit = _has_come(span, first, tokens)[row * len(sides.keys) + sides.key[pair]]
    counts.n_train_matches[own] -= np.bincount(pair[hit], minlength=len(sides.key))
