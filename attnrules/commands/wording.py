"""Figures in words, each with what it is about; absence and counting rules in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from attnrules.commands.terminal import visible
from attnrules.sentence import first_tokens
from attnrules.sql import WHOLE_LAYER, head_name

if TYPE_CHECKING:
    from attnrules.queries.card import FeatureCard
    from attnrules.warehouse import Warehouse

# The sets differ so much that a figure without its set says nothing.
_SETS = {
    "all_positions": "on all test positions",
    "paper": "on the paper's balanced strongest test examples",
}

# What the corpus says of an absence rule: absence_summary.corpus_evidence.
EVIDENCE = {
    "too few": "too few matched examples to say",
    "silent": "silent without the distractor too, so that nothing could be suppressed",
    "chance explains": "chance explains the difference",
    "suppresses": "lower with the distractor",
    "raises": "higher with the distractor",
}

# Heads of a layer whose shares of a feature are said.
_HEADS_SHOWN = 4


def example_set_words(example_set: str) -> str:
    """Return what figures of an example set are about."""
    return _SETS.get(example_set, f"on the test examples of {example_set}")


def reading_lines(card: FeatureCard) -> list[str]:
    """Say on which tokens a feature fires more often than anywhere, and which sources bring it about."""
    special = ", ".join(f"{row['token']} {row['times']}" for row in card.fires_on)
    sources = ", ".join(f"{_token(row['token'])} {row['share']:.0%}" for row in card.sources)
    lines = [f"fires on  {special or card.feature['description']}"]
    lines += [f"reads     {sources}"] if sources else []
    return [*lines, f"says      {says_words(card)}"]


def says_words(card: FeatureCard) -> str:
    """Say which tokens a feature makes the model say, by which evidence, or that it says nothing."""
    facts = card.feature
    kurtosis, bound = facts["kurtosis"], facts["random_kurtosis"]
    if facts["evidence"] in (None, "not known"):
        return "not known: run the same `attnrules ingest` again"
    if bound is None:
        directly = "what its weights say is not known" if card.says else facts["evidence"]
    elif kurtosis is None:
        directly = "its weights write nothing"
    elif kurtosis <= bound:
        figures = f"kurtosis {kurtosis:.1f}, random directions up to {bound:.1f}"
        directly = f"no token stands out in its weights: {figures}"
    else:
        directly = ""
    if not card.says:
        return f"nothing directly ({directly})"
    words = ", ".join(f"{visible(row['token'])}{_figure(row)}" for row in card.says)
    unit = ", nats" if facts["evidence"] == "confirmed on the model" else ""
    return f"{words} ({facts['evidence']}{unit}{f'; {directly}' if directly else ''})"


def _figure(row: dict[str, Any]) -> str:
    """Return the figure of a token that a feature makes the model say, in the unit of its evidence."""
    if row["evidence"] == "confirmed on the model":
        return f" {row['raise']:+z.2f}"
    return f" {row['times']}" if row["in_corpus"] else ""


def right_side(card: FeatureCard) -> str:
    """Return how a rule ends: the tokens that its feature makes the model say, and its name."""
    name, says = feature_name(card), card.feature.get("says")
    return f"{visible(says)} ({name})" if says else name


def feature_name(card: FeatureCard) -> str:
    """Return the name of a card's feature."""
    return f"{head_name(card.feature['layer'], card.feature['head'])}.{card.feature['feature']}"


def best_list_words(row: dict[str, Any]) -> str:
    """Say how well the list of a row of `best_lists` predicts its feature."""
    accuracy = _accuracy(row, row["ceiling_average_precision"])
    return f"{row['n_rules_used']} {row['method']} rules {accuracy}"


def typical_list_words(warehouse: Warehouse, at: dict[str, int]) -> str | None:
    """Say how well rules predict the median feature of `at`; None where all positions were not judged."""
    from attnrules.queries.questions import ask

    answer = ask(warehouse, "typical_list", at)
    [values] = answer.fetchall()
    row = dict(zip(answer.columns, values, strict=True))
    if not row["n_features"]:
        return None
    accuracy = _accuracy(row, row["ceiling"])
    return f"median of {row['n_features']} features, {row['n_rules']:.0f} rules {accuracy}"


def _accuracy(row: dict[str, Any], ceiling: float | None) -> str:
    where = f"{example_set_words(row['example_set'])} ({row['base_rate']:.1%} active)"
    of = "" if ceiling is None else f" (all input features: {ceiling:.2f})"
    others = [f", {name} {row[name]:.2f}" for name in ("precision", "recall") if row[name] is not None]
    return f"{where}: average precision {row['average_precision']:.2f}{of}{''.join(others)}"


def stated_lines(card: FeatureCard) -> list[str]:
    """Return lines that say the stated rules of a feature, and whether they beat what single tokens say."""
    if not card.stated:
        return []
    name = right_side(card)
    lines = ["", "stated rules, each judged exactly as it is read on test positions"]
    for rule in card.stated:
        lines += [f"  {rule['rank']:3}  {rule['statement']} → {name}", f"       {reading_words(rule)}"]
        lines += [f"       {line}" for line in _model_lines(card, rule)]
    return [*lines, *_input_lines(card), *_beaten_lines(card)]


def _input_lines(card: FeatureCard) -> list[str]:
    """Say in one line what the input features fire on that the stated rules name by number."""
    named = [
        f"L{row['layer']}.i{row['feature']} ({first_tokens(row['description'])})"
        for row in card.stated_inputs
    ]
    return [f"  input features: {', '.join(named)}"] if named else []


def _model_lines(card: FeatureCard, rule: dict[str, Any]) -> list[str]:
    """Say what the model does where a stated rule is planted, and where its atoms are broken."""
    tests = [test for test in card.stated_tests if test["rank"] == rule["rank"]]
    if not tests:
        return []
    said = [test_words(test, rule["statement"]) for test in tests]
    return [f"on the model {rule['verdict']}: {'; '.join(said)}"]


def test_words(test: dict[str, Any], statement: str) -> str:
    """Say what came of a test of a stated rule: a row of `stated_tests`."""
    planted = test["kind"] == "sufficient"
    what = "planted" if planted else f"without {_atom_words(statement, test['atom'])}"
    if test["share"] is None:
        return f"{what}: {test['status']}"
    n, share, control = test["n_examples"], test["share"], test["control_share"]
    if planted:
        return f"{what} in {n} neutral contexts it fires in {share:.0%} (neutral tokens {control:.0%})"
    return f"{what} {share:z.0%} of the activation is lost in {n} sequences (other tokens {control:z.0%})"


def narrowing_words(rule: dict[str, Any]) -> str:
    """Say what the last condition of a rule adds to it: a `Narrowing` as a dictionary."""
    added = rule["statement"].rsplit(" and ", 1)[1]
    if rule["gain"] is None:
        return f"“{added}” changes nothing that can be seen: the rule holds nowhere on the test positions"
    raises = "raises" if rule["kept"] else "does not surely raise"
    otherwise = "without" if rule["kind"] == "absence" else "where once is enough"
    words = (
        f"“{added}” {raises} its precision: {rule['precision']:.2f}"
        f" ({rule['n_hits']} of {rule['n_matches']} positions) with it, {rule['precision_without']:.2f}"
        f" ({rule['n_hits_without']} of {rule['n_matches_without']}) {otherwise}"
    )
    if rule["gain_interval"] is None:
        return f"{words}, in too few sequences to say"
    low, high = rule["gain_interval"]
    return f"{words}, gain {rule['gain']:+z.2f} [{low:z.2f}, {high:z.2f}]"


def _atom_words(statement: str, number: int) -> str:
    from attnrules.queries.stated import parse

    atom = parse(statement)[0].atoms[number - 1]
    return f"“{atom}”"


def reading_words(rule: dict[str, Any]) -> str:
    """Say how a rule does as it is read: a row of `rule_readings`."""
    if rule["n_matches"] is None:
        return "not judged on all positions"
    if not rule["n_matches"]:
        return "holds nowhere on the test positions"
    interval = (
        ""
        if rule["precision_low"] is None
        else f" [{rule['precision_low']:.2f}, {rule['precision_high']:.2f}]"
    )
    recall = "" if rule["recall"] is None else f", recall {rule['recall']:.2f}, lift {rule['lift']:.1f}"
    return (
        f"precision {rule['precision']:.2f}{interval}{recall}: right at {rule['n_hits']} of"
        f" {rule['n_matches']} positions in {in_sequences(rule['n_match_sequences'])}"
    )


def in_sequences(n: int) -> str:
    """Say how many sequences."""
    return f"{n} sequence" if n == 1 else f"{n} sequences"


def _beaten_lines(card: FeatureCard) -> list[str]:
    """Say how the list compares with what the current token, or the last two, predict."""
    found = [
        row for row in card.metrics if row["example_set"] == "all_positions" and row["average_precision"]
    ]
    lists = [row for row in found if row["method"] == "stated"]
    rivals = {row["method"]: row["average_precision"] for row in found if row["kind"] == "baseline"}
    lines = []
    for row in lists:
        better = [
            f"{method.replace('_', ' ')} {rivals[method]:.2f}"
            for method in ("current_token", "last_two_tokens")
            if rivals.get(method, 0) >= row["average_precision"]
        ]
        if better:
            lines.append(
                f"  the first {row['n_rules_used']} are no description: average precision"
                f" {row['average_precision']:.2f}, {' and '.join(better)}"
            )
    return lines


def absence_lines(rules: list[dict[str, Any]], ends: str, narrowings: list[dict[str, Any]]) -> list[str]:
    """Return lines that say what draws attention away from the keys of a feature whose rules end so."""
    lines = []
    for scaling in dict.fromkeys(rule["scaling"] for rule in rules):
        lines += ["", f"absence rules ({scaling} scaling)"]
        for rule in rules:
            if rule["scaling"] == scaling:
                through = through_words(rule["head"], [rule])
                lines.append(
                    f"  {rule['pair']:3}  {absence_words(rule)} ↛ {ends}{through}: {_standing(rule)}"
                )
                lines += [f"       {line}" for line in (_corpus_words(rule), _test_words(rule))]
                lines += _narrowing_lines("absence", rule, narrowings)
    return lines


def counting_lines(rules: list[dict[str, Any]], ends: str, narrowings: list[dict[str, Any]]) -> list[str]:
    """Return lines that say what the feature counts; `ends` is how its rules end."""
    lines = []
    for scaling in dict.fromkeys(rule["scaling"] for rule in rules):
        lines += ["", f"counting rules ({scaling} scaling)"]
        for rule in rules:
            if rule["scaling"] == scaling:
                words = f"at {_feature(rule, 'query')} {counting_words(rule)}"
                through = through_words(rule["head"], [rule])
                lines.append(f"  {rule['pair']:3}  {words} → {ends}{through}")
                lines += [f"       {line}" for line in (_count_words(rule), _grid_words(rule))]
                lines += _narrowing_lines("counting", rule, narrowings)
    return lines


def _narrowing_lines(kind: str, rule: dict[str, Any], narrowings: list[dict[str, Any]]) -> list[str]:
    place = (kind, rule["scaling"], rule["pair"])
    return [
        f"       as a rule, {narrowing_words(one)}"
        for one in narrowings
        if (one["kind"], one["scaling"], one["pair"]) == place
    ]


def through_words(head: int, rows: list[dict[str, Any]]) -> str:
    """Say through which head rules act, where `head` says that their SAE reads a whole layer."""
    if head != WHOLE_LAYER:
        return ""
    return f" through {', '.join(f'H{through}' for through in sorted({row['through_head'] for row in rows}))}"


def share_lines(heads: list[dict[str, Any]]) -> list[str]:
    """Return a line that says what share each head has of a feature of an SAE over a whole layer."""
    kinds = {"weight_share": "by weights", "data_share": "where it is active"}
    words = []
    for name, kind in kinds.items():
        largest = sorted(
            (head for head in heads if head[name] is not None),
            key=lambda head: (-head[name], head["through_head"]),
        )
        if largest:
            shares = ", ".join(f"H{head['through_head']} {head[name]:.0%}" for head in largest[:_HEADS_SHOWN])
            words.append(f"{kind} {shares}")
    return [f"heads     {'; '.join(words)}"] if words else []


def absence_words(rule: dict[str, Any]) -> str:
    """Write a rule as `[key] … [distractor] … [query]`."""
    return " … ".join(_feature(rule, part) for part in ("key", "distractor", "query"))


def counting_words(rule: dict[str, Any]) -> str:
    """Write a rule as `fires when [key] occurs more often than [opponent]`."""
    key, p, m, threshold = (
        _feature(rule, "key"),
        rule["key_weight"],
        rule["opponent_weight"],
        rule["threshold"],
    )
    if m == 0:
        return f"fires when {key} occurs at least {threshold} times"
    opponent = _feature(rule, "opponent")
    if p == m == 1:
        by = "" if threshold == 1 else f", by at least {threshold}"
        return f"fires when {key} occurs more often than {opponent}{by}"
    by = "" if threshold == 1 else f" by at least {threshold}"
    return f"fires when {_times(p)}the count of {key} exceeds {_times(m)}the count of {opponent}{by}"


def _standing(rule: dict[str, Any]) -> str:
    """Say what an absence rule rests on, before any figure of it."""
    if rule["confirmed"]:
        return "confirmed on the model"
    if rule["status"] == "tested":
        return "not confirmed on the model"
    return (
        "suggested by the weights alone" if rule["corpus_evidence"] != "suppresses" else "seen in the corpus"
    )


def _times(weight: int) -> str:
    return "" if weight == 1 else f"{weight} times "


def _feature(rule: dict[str, Any], part: str) -> str:
    return f"[{rule[f'{part}_description'] or 'never fires'}]"


def _corpus_words(rule: dict[str, Any]) -> str:
    kinds = []
    for kind, words in (("kq", "without the distractor"), ("kkq", "with it")):
        n, share, mean = (rule[f"{kind}_{name}"] for name in ("count", "active_share", "mean_activation"))
        kinds.append(f"{n} {words}" + ("" if share is None else f" (active {share:.0%}, mean {mean:.2f})"))
    text = f"corpus, {EVIDENCE[rule['corpus_evidence']]}: {', '.join(kinds)}"
    if rule["matched_low"] is not None:
        text += (
            f"; matched difference {rule['matched_difference']:+z.2f}"
            f" ({rule['matched_low']:+z.2f} to {rule['matched_high']:+z.2f})"
        )
    return text


def _count_words(rule: dict[str, Any]) -> str:
    words = (
        f"on held-out positions with the query: F1 {rule['f1']:.3f}, {rule['information']:.4f} bits a"
        f" position; by presence ({rule['presence']}) {rule['presence_f1']:.3f},"
        f" {rule['presence_information']:.4f}, gain {rule['information_gain']:z.4f}"
        f" ({rule['gain_low']:z.4f} to {rule['gain_high']:z.4f});"
    )
    if rule["position_gain"] is None:
        return f"{words} by position: not known, run `attnrules mine counting`"
    where = f"{rule['position_side']} {rule['position_threshold']}"
    return (
        f"{words} by position ({where}) {rule['position_f1']:.3f}, {rule['position_information']:.4f}, gain"
        f" {rule['position_gain']:z.4f} ({rule['position_gain_low']:z.4f} to"
        f" {rule['position_gain_high']:z.4f})"
    )


def _test_words(rule: dict[str, Any]) -> str:
    if rule["status"] == "not tested":
        return "not tested: run `attnrules intervene`"
    if rule["status"] != "tested":
        return f"could not be tested: {rule['status']}"
    verdict = "confirmed" if rule["confirmed"] else "not confirmed"
    arms = [
        " ".join(f"{value:.2f}" for value in rule[f"{arm}_activations"]) for arm in ("distractor", "control")
    ]
    interval = (
        "too few sequences for an interval"
        if rule["excess_low"] is None
        else f"{rule['excess_low']:+z.2f} to {rule['excess_high']:+z.2f}"
    )
    return (
        f"{verdict}: activation with 0, 1, ... {_tokens_words(rule)} inserted {arms[0]}, with"
        f" neutral tokens {arms[1]}; excess fall {rule['excess_fall']:+z.2f} ({interval}),"
        f" {rule['n_examples']} sequences{_chance_words(rule)}"
    )


def _chance_words(rule: dict[str, Any]) -> str:
    if rule["chance_share"] is None:
        return ""
    return (
        f"; of like cases {rule['confirmed_share']:.0%} are confirmed, by chance {rule['chance_share']:.1%}"
    )


def _tokens_words(rule: dict[str, Any]) -> str:
    """Name the first token that was inserted for a distractor, and say how many others were."""
    more = (rule["n_distractor_tokens"] or 1) - 1
    return f"{_token(rule['distractor_token'])}" + (f" (or one of {more} others)" if more else "")


def _grid_words(rule: dict[str, Any]) -> str:
    if rule["status"] == "not tested":
        return "not tested: run `attnrules intervene`"
    if rule["status"] != "tested":
        return f"could not be tested: {rule['status']}"
    verdict = "confirmed" if rule["confirmed"] else "not confirmed"
    return (
        f"{verdict}: right on {rule['agreement']:.0%} of the grid of insertions, presence on"
        f" {rule['presence_agreement']:.0%}; where it says so, active {rule['excess_active']:+z.0%} beyond"
        f" neutral tokens, {rule['n_examples']} sequences"
    )


def _token(text: str) -> str:
    r"""Return a token as the macro `token_label` and rules write it: `'\n'`."""
    spelt = text.replace("\n", r"\n").replace("\r", r"\r").replace("\t", r"\t")
    return f"'{visible(spelt)}'"
