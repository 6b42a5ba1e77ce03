"""One output feature on one card: what fires it, its rules, how well they predict it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from attnrules.errors import refuse_below
from attnrules.queries.card.redundancy import minimal_rules
from attnrules.queries.heads import FeatureId, refuse_unknown_feature
from attnrules.queries.questions import ask
from attnrules.queries.stated import read_confirmed
from attnrules.sql import WHOLE_LAYER, Statements
from attnrules.warehouse import inspect

if TYPE_CHECKING:
    from attnrules.warehouse import Warehouse

step = Statements("attnrules.queries", "card")


@dataclass(frozen=True)
class FeatureCard:
    """What `attnrules show` shows; every list holds rows as dictionaries.

    Arguments:
        feature: the row of `output_features`, without the encoder.
        heads: of a feature of an SAE over a whole layer, the rows of `feature_heads` without the encoder.
        examples: the sequences of largest activation, with the text around the position.
        rules: the first rules of each method, with descriptions.
        metrics: one row per method, example set and number of rules, on the test split; baselines and
            ceilings too.
        minimal: per list of rules, the few that predict as well as all of it (`redundancy.MinimalRules`).
        tokens: of the rules among these that have several keys or queries, the tokens they act through:
            rows of the question `rule_tokens`.
        fires_on: the tokens of largest lift, of the view `output_feature_tokens`.
        attended, distances: the tokens, and how far back, that its heads attend to where it is active and
            anywhere.
        example_runs: the three strongest examples with what brings each about, as runs of tokens.
        sources: the tokens that bring its activation, rows of the question `output_feature_sources`.
        says: the tokens that stand for what it makes the model say, rows of `output_words`, best first.
        output_test: the row of `output_tests`, none where that was not tested.
        best: the row of `best_lists` for each example set, all_positions first.
        stated: the first stated rules, with how they do on test as they are read, and what the model says.
        stated_inputs: the input features that these rules speak of, each with its description.
        stated_tests: the rows of `stated_tests` of these rules.
        readings: how the first rules of the other methods do on test when they are taken as they are read.
        absences, counting: the rows of `absence_summary` and `counting_summary`. narrowings: of the confirmed
            ones, what they add to a rule, as `queries.stated.Narrowing` says.
    """

    feature: dict[str, Any]
    heads: list[dict[str, Any]]
    examples: list[dict[str, Any]]
    rules: list[dict[str, Any]]
    metrics: list[dict[str, Any]]
    minimal: list[dict[str, Any]]
    tokens: list[dict[str, Any]]
    fires_on: list[dict[str, Any]]
    attended: list[dict[str, Any]]
    distances: list[dict[str, Any]]
    example_runs: list[dict[str, Any]]
    sources: list[dict[str, Any]]
    says: list[dict[str, Any]]
    output_test: list[dict[str, Any]]
    best: list[dict[str, Any]]
    stated: list[dict[str, Any]]
    stated_inputs: list[dict[str, Any]]
    stated_tests: list[dict[str, Any]]
    readings: list[dict[str, Any]]
    absences: list[dict[str, Any]]
    counting: list[dict[str, Any]]
    narrowings: list[dict[str, Any]]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return asdict(self)


def feature_card(
    warehouse: Warehouse, feature: FeatureId, *, n_rules: int = 10, every_list: bool = True
) -> FeatureCard:
    """Gather the card of a feature; raises `UsageError` when the warehouse does not hold it.

    Not `every_list`, what only lists other than the stated one are shown with is left out, half of the time:
    `minimal`, and of a feature with stated rules `tokens`.
    """
    refuse_below(1, "n_rules=", n_rules)
    facts = feature_facts(warehouse, feature)
    at = {"layer": feature.layer, "head": feature.head, "feature": feature.feature}
    rules = dictionaries(warehouse, "rules", {**at, "n_rules": n_rules})
    stated = dictionaries(warehouse, "stated", {**at, "n_rules": n_rules})
    minimal = _minimal(warehouse, feature, at) if every_list else []
    worded = (
        [] if stated and not every_list else [*rules, *(rule for kept in minimal for rule in kept["rules"])]
    )
    return FeatureCard(
        feature=facts,
        heads=dictionaries(warehouse, "feature_heads", at) if feature.head == WHOLE_LAYER else [],
        examples=dictionaries(warehouse, "examples", at),
        rules=rules,
        metrics=dictionaries(warehouse, "metrics", at),
        minimal=minimal,
        tokens=_tokens(warehouse, at, worded),
        fires_on=dictionaries(warehouse, "fires_on", at),
        attended=inspect.as_dictionaries(ask(warehouse, "attended_tokens", {**at, "limit": 3})),
        distances=dictionaries(warehouse, "distances", at),
        example_runs=dictionaries(warehouse, "example_runs", at),
        sources=inspect.as_dictionaries(ask(warehouse, "output_feature_sources", {**at, "limit": 6})),
        says=dictionaries(warehouse, "says", at),
        output_test=dictionaries(warehouse, "output_test", at),
        best=dictionaries(warehouse, "best_lists", at),
        stated=stated,
        stated_inputs=dictionaries(warehouse, "stated_inputs", {**at, "n_rules": n_rules}),
        stated_tests=dictionaries(warehouse, "stated_tests", {**at, "n_rules": n_rules}),
        readings=dictionaries(warehouse, "readings", {**at, "n_rules": n_rules}),
        absences=dictionaries(warehouse, "absences", {**at, "n_rules": n_rules}),
        counting=dictionaries(warehouse, "counting", {**at, "n_rules": n_rules}),
        narrowings=[asdict(one) for one in read_confirmed(warehouse, feature)],
    )


def feature_facts(warehouse: Warehouse, feature: FeatureId) -> dict[str, Any]:
    """Return the row of a feature; raises `UsageError` when the warehouse does not hold it."""
    refuse_unknown_feature(warehouse, feature)
    return dictionaries(warehouse, "feature", asdict(feature))[0]


def _minimal(warehouse: Warehouse, feature: FeatureId, at: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for of_list in dictionaries(warehouse, "lists", at):
        method, scaling = of_list["method"], of_list["scaling"]
        kept = minimal_rules(warehouse, feature, method, scaling, bos_keys=of_list["bos_keys"])
        if kept is not None:
            named = {**at, "method": method, "scaling": scaling, "ranks": list(kept.ranks)}
            found.append({**asdict(kept), "rules": dictionaries(warehouse, "rules_by_rank", named)})
    return found


def _tokens(warehouse: Warehouse, at: dict[str, Any], rules: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = ("method", "scaling", "rank", "through_head", "key_feature", "query_feature")
    n_rows = Counter(row[:3] for row in {tuple(rule[name] for name in names) for rule in rules})
    shared = {rule for rule, n in n_rows.items() if n > 1}
    if not shared:
        return []
    n_rules = max(rank for _, _, rank in shared)
    rows = inspect.as_dictionaries(ask(warehouse, "rule_tokens", {**at, "n_rules": n_rules}))
    return [row for row in rows if (row["method"], row["scaling"], row["rank"]) in shared]


def dictionaries(warehouse: Warehouse, name: str, parameters: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of one of the card's statements."""
    return inspect.dictionaries(warehouse, step(name), parameters)
