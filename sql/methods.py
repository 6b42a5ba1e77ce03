"""Ways to predict an output feature: the one place that says what each is.

The table `methods`, the choices of `--method`, the steps that score matches and the checks follow from it.
To add a way to find rules, write a module with its finder and an entry here (docs/contributing.md).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from attnrules.errors import AttnRulesError


@dataclass(frozen=True)
class Method:
    """A way to predict an output feature.

    Arguments:
        name: in the column `method` of tables. meaning: what it predicts from.
        match_score: what one match of a rule scores (method.md section 5.1): `product` (a_q a_k S)(a_k V),
            without a query a_k V; `linear` (a_q a_k S) V; `own` the rule's score; `carried` V times what
            attention carries, of which a prediction is the sum; `holds` the rule's weight where it holds
            (section 13). None for what has no rules.
        shares_rank: what tells rows of one rank apart, where a rule has several: `key` or `key and query`.
        finder: `module:function`, called with a `queries.skipgrams.finding.Search`; it returns `RankedRules`.
        needs_means: whether the finder reads `Search.means`, what attention carries to a feature.
        per_block: whether the finder reads the corpus in one pass for as many features as memory allows.
        ranks_by_attn: whether S(i,j) decides which rules it finds, so that it has to be known at a distance.
        in_best: whether `--method best` mines it.
        learns: whether its rules follow from examples, not from the weights alone: a list is then not to be
            judged on some of them.
    """

    name: str
    kind: Literal["rules", "baseline", "ceiling"]
    meaning: str
    match_score: Literal["product", "linear", "own", "carried", "holds"] | None = None
    shares_rank: Literal["key", "key and query"] | None = None
    finder: str | None = None
    needs_means: bool = False
    per_block: bool = False
    ranks_by_attn: bool = False
    in_best: bool = False
    learns: bool = True

    @property
    def is_sum(self) -> bool:
        """Whether a prediction is the sum of the rules' scores, whatever `--aggregation` says."""
        return self.match_score == "carried"

    @property
    def is_stated(self) -> bool:
        """Whether a rule is a condition on the text, of `stated_rules`: it has no scaling."""
        return self.match_score == "holds"


_SKIPGRAMS = "attnrules.queries.skipgrams"
METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(
            "stated",
            "rules",
            "conditions on tokens and input features by offset, judged exactly as they are read",
            match_score="holds",
            finder="attnrules.queries.stated.learning:stated",
            needs_means=True,
            per_block=True,
            in_best=True,
        ),
        Method(
            "magnitude",
            "rules",
            "pairs by exp(S) V: weights alone, the paper's",
            match_score="product",
            finder=f"{_SKIPGRAMS}.weights:magnitude",
            ranks_by_attn=True,
            learns=False,
        ),
        Method(
            "importance",
            "rules",
            "pairs by the gradient of a linearised head on train examples, the paper's",
            match_score="linear",
            finder=f"{_SKIPGRAMS}.importance:importance",
            ranks_by_attn=True,
        ),
        Method(
            "unigram",
            "rules",
            "keys by V, no query, the paper's",
            match_score="product",
            finder=f"{_SKIPGRAMS}.weights:unigram",
            learns=False,
        ),
        Method(
            "mined",
            "rules",
            "pairs by what the corpus shows: how often the feature is active where they match",
            match_score="own",
            finder=f"{_SKIPGRAMS}.pair_counts:mined",
            needs_means=True,
            per_block=True,
        ),
        Method(
            "weighted",
            "rules",
            "keys by V times how much more attention carries when the feature is active",
            match_score="carried",
            finder=f"{_SKIPGRAMS}.weighted:weighted",
            needs_means=True,
            in_best=True,
        ),
        Method(
            "weighted_signed",
            "rules",
            "the same by size, suppressors kept",
            match_score="carried",
            finder=f"{_SKIPGRAMS}.weighted:weighted_signed",
            needs_means=True,
        ),
        Method(
            "weighted_groups",
            "rules",
            "the same for groups of up to eight keys whose value vectors point the same way",
            match_score="carried",
            shares_rank="key",
            finder=f"{_SKIPGRAMS}.weighted:weighted_groups",
            needs_means=True,
            in_best=True,
        ),
        Method(
            "weighted_gates",
            "rules",
            "these groups, with up to eight queries where those say when a group counts",
            match_score="carried",
            shares_rank="key and query",
            finder=f"{_SKIPGRAMS}.weighted:weighted_gates",
            needs_means=True,
            in_best=True,
        ),
        Method(
            "weighted_pairs",
            "rules",
            "the same for (key, query) pairs",
            match_score="carried",
            finder=f"{_SKIPGRAMS}.weighted:weighted_pairs",
            needs_means=True,
        ),
        Method("always_active", "baseline", "predicts active everywhere"),
        Method("current_token", "baseline", "mean train activation on the token alone"),
        Method("last_two_tokens", "baseline", "mean train activation on the last two tokens"),
        Method(
            "key_anywhere",
            "baseline",
            "keys of the magnitude rules, present anywhere before, no query",
            match_score="product",
        ),
        Method(
            "random",
            "baseline",
            "magnitude rules with both features swapped for others that fire about as often",
            match_score="product",
        ),
        Method("ceiling_from_features", "ceiling", "all input features, attention computed from them"),
        Method("ceiling_model_attention", "ceiling", "all input features, the model's own attention"),
    )
}


def method_named(name: str) -> Method:
    """Return a method; raises `AttnRulesError` for one that a newer version, or somebody else's, stored."""
    if name not in METHODS:
        raise AttnRulesError(f"holds the method {name!r}, which this version of attnrules does not know")
    return METHODS[name]


def names(kind: Literal["rules", "baseline", "ceiling"]) -> tuple[str, ...]:
    """Return the names of the methods of a kind, in their order."""
    return tuple(method.name for method in METHODS.values() if method.kind == kind)


def best() -> tuple[str, ...]:
    """Return the methods that `--method best` mines: measured in docs/measurements.md."""
    return tuple(method.name for method in METHODS.values() if method.in_best)
