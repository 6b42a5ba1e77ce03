"""Stated rules tested on the model: planted ones are borne out, near misses are not, and every pass is right."""

from __future__ import annotations

import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.queries.card import feature_card
from attnrules.queries.heads import FeatureId
from attnrules.queries.interventions import StatedSpec, intervene_on_stated
from attnrules.queries.interventions.changes import Example, Plan, Rule, RuleAtom, broken, denied
from attnrules.queries.stated import parse
from attnrules.queries.stated.language import Atom, InputFeature, Statement
from attnrules.queries.stated.members import resolved, table_of
from attnrules.warehouse import Warehouse, check
from tests.planted import PlantedModel
from tests.slow_stated import Text, texts

BOTH = "sufficient and necessary"
# Rules of planted features, and what the model says of them. `night1` stands for that input feature of layer 1.
RULES = [
    (0, 0, "speaks French", "['Montreal', 'Quebec', 'Paris', 'Lyon'] before and ['speaks', 'sings', 'says'] at 0", BOTH),
    (0, 0, "speaks Icelandic", "['Paris'] before and ['speaks', 'sings', 'says'] at 0", "not confirmed"),
    (0, 1, "mouse at food", "['bread', 'cheese', 'soup'] before and ['squeaks'] at 0 and no ['fox', 'wolf', 'owl'] before", BOTH),
    (0, 1, "quiet night", "no ['drum'] before", "necessary"),
    (0, 2, "two knocks", "at least 2 of ['knock'] before and ['answers'] at 0", BOTH),
    (0, 2, "three knocks", "['knock'] before and ['answers'] at 0", "necessary"),
    (0, 3, "Canadian sport", "position 9..", "not testable"),
    (1, 0, "midnight", "[night1] before and ['sleeps', 'squeaks'] at 0", BOTH),
]  # fmt: skip


def store(warehouse: Warehouse, at: tuple[int, int, int], rank: int, statement: str) -> None:
    """Store a rule as mining does."""
    named = dict(zip(("layer", "head", "feature"), at, strict=True)) | {"rank": rank, "run_id": 1}
    numbers = {"weight": 1.0, "prior": 0.0, "sample_precision": 1.0, "sample_recall": 1.0}
    rows = resolved(warehouse, parse(statement)[0])
    warehouse.append("stated_rules", pa.Table.from_pylist([{**named, "statement": statement, **numbers}]))
    warehouse.append("stated_atoms", table_of(rows, **{name: [n] * len(rows) for name, n in named.items()}))


def store_planted(warehouse: Warehouse, planted: PlantedModel) -> None:
    """Store what we know of the planted features, as the first rule of each."""
    night = f"L1.i{planted.input_features[1, 'night']}"
    for layer, head, name, statement, _ in RULES:
        feature = planted.output_features[layer, head, name]
        store(warehouse, (layer, head, feature), 1, statement.replace("night1", night))


def put_to_test(warehouse: Warehouse, **options: Any) -> Any:
    laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
    return intervene_on_stated(warehouse, StatedSpec(**options), laboratory)


@pytest.fixture(scope="module")
def path(ingested_once: Path, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The planted warehouse with rules that we wrote, tested. Not to be written to."""
    made = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("stated") / "planted.duckdb"))
    with Warehouse.open(made, writable=True) as warehouse:
        store_planted(warehouse, planted)
        put_to_test(warehouse)
    return made


@pytest.fixture(scope="module")
def tested(path: Path) -> Iterator[Warehouse]:
    with Warehouse.open(path) as warehouse:
        yield warehouse


@pytest.mark.parametrize("rule", RULES, ids=[rule[2] for rule in RULES])
def test_the_model_says_of_a_planted_rule_what_is_true(
    tested: Warehouse, planted: PlantedModel, rule: tuple[int, int, str, str, str]
) -> None:
    layer, head, name, _, verdict = rule
    at = {"l": layer, "h": head, "f": planted.output_features[layer, head, name]}
    where = "WHERE layer = $l AND head = $h AND feature = $f"
    assert tested.rows(f"SELECT verdict FROM stated_summary {where}", at) == [(verdict,)]
    if verdict == BOTH:
        found = tested.rows(f"SELECT kind, status, share, control_share FROM stated_tests {where}", at)
        assert all(status == "tested" for _, status, _, _ in found)
        assert all(share == pytest.approx(1, abs=1e-5) for kind, _, share, _ in found if kind == "sufficient")


def test_every_pass_has_the_activation_that_the_planted_rules_demand(
    tested: Warehouse, planted: PlantedModel
) -> None:
    sequences = defaultdict(list)
    for seq, token in tested.rows("SELECT seq_id, token_id FROM tokens ORDER BY seq_id, pos"):
        sequences[seq].append(token)
    rows = tested.rows(
        "SELECT layer, head, feature, arm, seq_id, query_pos, positions, token_ids, activation FROM stated_trials"
    )
    for layer, head, feature, _, seq, pos, positions, token_ids, activation in rows:
        tokens = list(sequences[seq])
        for position, token in zip(positions, token_ids, strict=True):
            tokens[position] = token
        assert (activation > 0) == planted.is_active(layer, head, feature, tokens, pos)
    assert {arm for _, _, _, arm, *_ in rows} == {"none", "rule", "control"}


def as_meant(kind: str, control: int, holds: bool | None) -> bool:
    """Whether a rule planted holds, one broken does not, and a control does the contrary."""
    wanted = (kind == "sufficient") == (control == 0)
    return holds is not None and holds == wanted


@pytest.mark.parametrize("of", ["path", "doctored"])
def test_shares_are_what_the_passes_say(of: str, request: pytest.FixtureRequest) -> None:
    """Of both kinds, counted slowly from the rows of `stated_trials`."""
    with Warehouse.open(request.getfixturevalue(of)) as tested:
        trials = tested.rows(
            "SELECT layer, head, feature, kind, atom, arm, control, seq_id, holds, activation FROM stated_trials"
        )
        tests = tested.rows(
            "SELECT layer, head, feature, kind, atom, n_examples, holds_share, share, control_share,"
            " largest_control_share FROM stated_tests WHERE status = 'tested'"
        )
    passes: dict[Any, dict[int, dict[int, float]]] = defaultdict(lambda: defaultdict(dict))
    before, holding = {}, defaultdict(list)
    for *at, kind, atom, arm, control, seq, holds, y in trials:
        if arm == "none":
            before[*at, seq] = y
        elif as_meant(kind, control or 0, holds):
            passes[*at, kind, atom][control or 0][seq] = y
        if arm == "rule":
            holding[*at, kind, atom].append(holds is True)
    for *at, kind, atom, n, holds_share, share, control_share, largest in tests:
        changed, *controls = (passes[*at, kind, atom][control] for control in range(10))
        controls = [{seq: y for seq, y in one.items() if seq in changed} for one in controls]
        controls = [one for one in controls if len(one) >= min(5, len(changed))]
        judged = [seq for seq in changed if any(seq in one for one in controls)]
        whole = np.mean([before[*at, seq] for seq in judged]) if kind == "necessary" else 1

        def effect(y: float, seq: int, kind: str = kind, at: Any = at, whole: float = whole) -> float:
            return (before[*at, seq] - y) / whole if kind == "necessary" else float(y > 0)

        did = [{seq: effect(y, seq) for seq, y in one.items() if seq in judged} for one in controls]
        of_controls = [np.mean([one[seq] for one in did if seq in one]) for seq in judged]
        assert n == len(judged)
        assert share == pytest.approx(np.mean([effect(changed[seq], seq) for seq in judged]), abs=1e-6)
        assert largest == pytest.approx(max(np.mean([*one.values()]) for one in did), abs=1e-6)
        assert control_share == pytest.approx(np.mean(of_controls), abs=1e-6)
        assert holds_share == pytest.approx(np.mean(holding[*at, kind, atom]))


# Rules about classes of words, and the words on which the corpus is made to say that a class never fires.
HIDDEN = {"[animal]": {"dog", "horse"}, "[predator]": {"wolf", "owl"}}
DOCTORED = {
    "animal's meal": "[animal] before and ['eats', 'drinks'] at 0",
    "mouse at food": "[food] before and ['squeaks'] at 0 and no [predator] before",
}


@pytest.fixture(scope="module")
def doctored(ingested_once: Path, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A warehouse by which some tokens seem neutral that are not, tested. Not to be written to."""
    made = Path(shutil.copy(ingested_once, tmp_path_factory.mktemp("doctored") / "planted.duckdb"))
    with Warehouse.open(made, writable=True) as warehouse:
        for name, words in HIDDEN.items():
            warehouse.execute(
                "DELETE FROM input_activations AS a WHERE layer = 0 AND feature = $feature AND (seq_id, pos) IN"
                " (SELECT (seq_id, pos) FROM tokens WHERE token_id IN (SELECT unnest($tokens::INTEGER[])))",
                {
                    "feature": planted.input_features[0, name],
                    "tokens": [planted.vocabulary.index(word) for word in words],
                },
            )
        for (layer, head, name), feature in planted.output_features.items():
            if layer == 0 and name in DOCTORED:
                statement = DOCTORED[name]
                for (_, named), number in planted.input_features.items():
                    statement = statement.replace(named, f"[L0.i{number}]") if "[" in named else statement
                store(warehouse, (0, head, feature), 1, statement)
        put_to_test(warehouse, layers=(0,), heads=(0, 1))
    return made


@pytest.mark.parametrize("of", ["path", "doctored"])
def test_holds_says_whether_the_rule_holds_in_the_changed_sequence(
    of: str, planted: PlantedModel, request: pytest.FixtureRequest
) -> None:
    with Warehouse.open(request.getfixturevalue(of)) as warehouse:
        sequences = texts(warehouse)
        rules = {
            (layer, head, feature): parse(statement)[0]
            for layer, head, feature, statement in warehouse.rows(
                "SELECT layer, head, feature, statement FROM stated_rules"
            )
        }
        rows = warehouse.rows(
            "SELECT layer, head, feature, kind, arm, atom, seq_id, query_pos, positions, token_ids, holds"
            " FROM stated_trials"
        )
    named = {(member.layer, member.feature) for rule in rules.values() for member in features_of(rule)}
    for layer, head, feature, kind, arm, number, seq, q, positions, token_ids, holds in rows:
        tokens = list(sequences[seq].tokens)
        for position, token in zip(positions, token_ids, strict=True):
            tokens[position] = token, planted.vocabulary[token]
        active = {
            (at, k): {f: planted.input_activation(at, f, token) for of_layer, f in named if of_layer == at}
            for at in {at for at, _ in named}
            for k, (token, _) in enumerate(tokens)
        }
        text, rule = Text(tokens, active), rules[layer, head, feature]
        failing = {n for n, one in enumerate(rule.atoms, 1) if not text.holds(Statement((one,)), q)}
        says_nothing = kind == "necessary" and arm == "rule" and failing - {number}
        assert holds == (None if says_nothing else not failing)


def features_of(rule: Statement) -> list[InputFeature]:
    sets = [one.members for one in rule.atoms if isinstance(one, Atom)]
    return [member for members in sets for member in members if isinstance(member, InputFeature)]


def test_what_does_not_do_what_it_is_meant_to_is_not_judged(doctored: Path) -> None:
    """Where an animal replaces an animal the rule still holds: that says nothing against the atom."""
    with Warehouse.open(doctored) as warehouse:
        rows = warehouse.rows("SELECT kind, atom, arm, holds FROM stated_trials WHERE arm <> 'none'")
        tests = warehouse.rows("SELECT kind, status, n_examples, share, control_share FROM stated_tests")
        summaries = warehouse.rows("SELECT DISTINCT verdict FROM stated_summary")
    odd = {row[:3] for row in rows if not as_meant(row[0], row[2] == "control", row[3])}
    assert {("necessary", 1, "rule"), ("necessary", 3, "control")} <= odd
    assert summaries == [(BOTH,)]
    for kind, status, n, share, control_share in tests:
        assert (status, n > 5) == ("tested", True)
        assert share == pytest.approx(1, abs=1e-5)
        assert control_share < 1e-5 or kind == "necessary"


def test_contexts_are_free_of_the_rule_and_examples_are_not(tested: Warehouse) -> None:
    sequences = texts(tested)
    statements = {
        row[:3]: parse(row[3])[0]
        for row in tested.rows("SELECT layer, head, feature, statement FROM stated_rules")
    }
    active = set(tested.rows("SELECT layer, head, feature, seq_id, pos FROM output_activations"))
    for layer, head, feature, kind, seq, pos in tested.rows(
        "SELECT DISTINCT layer, head, feature, kind, seq_id, query_pos FROM stated_trials"
    ):
        statement = statements[layer, head, feature]
        is_active = (layer, head, feature, seq, pos) in active
        if kind == "necessary":
            assert is_active
            assert sequences[seq].holds(statement, pos)
        else:
            assert not is_active
            sets = [atom for atom in statement.atoms if isinstance(atom, Atom)]
            assert not any(len(found(sequences[seq], atom, pos)) >= atom.at_least for atom in sets)


def found(text: Text, atom: Atom, q: int) -> list[int]:
    """The positions of an atom's place that hold a member."""
    return [k for k in text.places(atom, q) if any(text.has(member, k, q) for member in atom.members)]


def test_a_planted_feature_fires_where_it_is_planted(tested: Warehouse, planted: PlantedModel) -> None:
    at = {"f": planted.output_features[1, 0, "midnight"]}
    rows = tested.rows(
        "SELECT holds, arm, positions, token_ids FROM stated_trials"
        " WHERE layer = 1 AND feature = $f AND kind = 'sufficient'",
        at,
    )
    night = planted.vocabulary.index("night")
    assert all(holds and night in tokens for holds, arm, _, tokens in rows if arm == "rule")
    assert not any(holds or night in tokens for holds, arm, _, tokens in rows if arm == "control")


def test_a_tested_warehouse_is_sound_and_damage_is_found(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / "w.duckdb"))
    with Warehouse.open(copy, writable=True) as warehouse:
        assert [result.name for result in check(warehouse) if result.n_problems] == []
        warehouse.execute("UPDATE stated_tests SET rank = 2 WHERE kind = 'sufficient' AND layer = 1")
        assert "stated_tests" in [result.name for result in check(warehouse) if result.n_problems]


def test_testing_again_gives_the_same(path: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(path, tmp_path / "w.duckdb"))
    ask = "SELECT * EXCLUDE (run_id) FROM stated_tests ORDER BY ALL"
    with Warehouse.open(copy, writable=True) as warehouse:
        before = warehouse.rows(ask)
        [head] = put_to_test(warehouse, layers=(0,), heads=(1,)).heads
        assert warehouse.rows(ask) == before
    assert (head.n_rules, head.n_rules_tested, head.n_rules_confirmed) == (2, 1, 1)
    assert (head.n_atoms_tested, head.n_atoms_confirmed) == (4, 4)


def test_only_the_rules_that_are_tested_anew_are_replaced(doctored: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copy(doctored, tmp_path / "w.duckdb"))
    ask = "SELECT rank, count(*), count(DISTINCT run_id), max(run_id) FROM stated_tests GROUP BY rank ORDER BY rank"
    with Warehouse.open(copy, writable=True) as warehouse:
        at = warehouse.rows("SELECT layer, head, feature FROM stated_rules WHERE head = 0")[0]
        store(warehouse, at, 2, "['eats'] at 0")
        only = {"layers": (0,), "heads": (0,), "n_examples": 5, "n_controls": 1}
        put_to_test(warehouse, n_rules=2, **only)
        before, passes = (
            warehouse.rows(ask),
            warehouse.value("SELECT count(*) FROM stated_trials WHERE rank = 2"),
        )
        put_to_test(warehouse, n_rules=1, **only)
        after = warehouse.rows(ask)
        assert passes == warehouse.value("SELECT count(*) FROM stated_trials WHERE rank = 2") > 0
    assert after[1] == before[1]
    assert after[0][3] > before[0][3]


def test_the_card_shows_it_with_the_rule(
    path: Path, planted: PlantedModel, attnrules: Callable[..., Any]
) -> None:
    feature = planted.output_features[0, 1, "mouse at food"]
    with Warehouse.open(path) as warehouse:
        card = feature_card(warehouse, FeatureId(0, 1, feature))
    assert [rule["verdict"] for rule in card.stated] == [BOTH]
    assert [(test["kind"], test["atom"]) for test in card.stated_tests] == [
        ("sufficient", 0), *(("necessary", atom) for atom in (1, 2, 3))
    ]  # fmt: skip
    told = " ".join(attnrules("show", path, f"L0H1.{feature}").out.split())
    assert "on the model sufficient and necessary: planted in 20 neutral contexts it fires in 100%" in told
    assert "without “no ['fox', 'wolf', 'owl'] before” 100% of the activation is lost" in told


def test_questions_say_which_rules_are_borne_out(path: Path, attnrules: Callable[..., Any]) -> None:
    told = attnrules("query", path, "stated_on_model", "-p", "verdict=%and%", "--format", "json").out
    assert told.count('"sufficient and necessary"') == sum(rule[4] == BOTH for rule in RULES)
    assert attnrules("query", path, "stated_tests_by_head").code == 0


def test_without_stated_rules_it_is_one_line(
    small_ingested_once: Path, tmp_path: Path, attnrules: Callable[..., Any]
) -> None:
    copy = Path(shutil.copy(small_ingested_once, tmp_path / "w.duckdb"))
    outcome = attnrules("intervene", copy, "--stated")
    assert (outcome.code, "holds no stated rules; run `attnrules mine skipgrams" in outcome.err) == (1, True)
    assert attnrules("intervene", copy, "--stated", "--probe").code == 2


# --- changes ---------------------------------------------------------------------------------------

BEFORE = ("offset", 1, None)
TEXT = [99, 1, 2, 3, 4, 5, 6, 7, 8, 9, 3, 11, 12, 13, 14, 3]
NEUTRAL = [50, 51, 52, 53]


def atom(number: int, place: tuple[str, int, int | None], *tokens: int, **more: Any) -> RuleAtom:
    return RuleAtom(
        number, more.pop("absent", False), more.pop("at_least", 1), *place, frozenset(tokens), **more
    )


def neutral(_: int) -> list[int]:
    return NEUTRAL


@pytest.mark.parametrize(
    ("atoms", "hits", "tokens"),
    [
        ([atom(1, BEFORE, 12, 14)], {1: [14, 12]}, {1: 14}),
        ([atom(1, BEFORE, 12, 14, at_least=2)], {1: [14, 12]}, {1: 14, 3: 12}),
        ([atom(1, BEFORE, is_same=True)], {1: [10, 3]}, {5: None}),
        ([atom(1, ("after copy", 0, None), 4)], {1: [4]}, {12: None, 11: 4}),
        ([atom(1, ("copy", 0, None), 3)], {1: [10, 3]}, {5: 3, 0: 3}),
        ([atom(1, ("offset", 0, 0), 3), atom(2, BEFORE, is_same=True)], {1: [15], 2: [10]}, {0: 3, 5: None}),
    ],
    ids=["one", "two of", "same", "after copy", "copy", "same of one"],
)  # fmt: skip
def test_what_makes_a_rule_hold_is_taken_over(atoms: Any, hits: Any, tokens: Any) -> None:
    rule = Rule(0, 1, tuple(atoms))
    plan = Plan.of(rule, Example(0, 15, TEXT, hits))
    assert plan.tokens == tokens
    change = plan.at(7, 15, [99, *range(20, 35)], rule, neutral)
    own = tokens.get(0) or 34
    assert dict(zip(change.put[0], change.put[1], strict=True)) == {
        15 - back: own if token is None else token for back, token in tokens.items()
    }
    assert change.controls == tuple((change.put[0], (token,) * len(tokens)) for token in NEUTRAL)


def test_a_rule_in_place_holds() -> None:
    """Read slowly: the plan of each rule makes it hold in a text that has nothing of it."""
    rng = np.random.default_rng(0)
    words = {i: f"w{i}" for i in range(100)}
    for written in (
        "['w1', 'w2'] at -3..-1",
        "[same] before",
        "['w4'] after copy",
        "['w3'] at copy and ['w5'] before",
    ):
        statement, _ = parse(written)
        donors = 0
        while donors < 5:
            tokens = [99, *rng.integers(0, 8, 15).tolist()]
            text = Text([(t, words[t]) for t in tokens])
            if not text.holds(statement, 15):
                continue
            donors += 1
            atoms, hits = [], {}
            for number, said in enumerate(statement.atoms, 1):
                assert isinstance(said, Atom)
                place = (said.place.kind, said.place.nearest, said.place.farthest)
                same = str(said.members[0]) == "same"
                of_set = [] if same else [int(str(m).strip("'w")) for m in said.members]
                atoms.append(atom(number, place, *of_set, is_same=same))
                hits[number] = found(text, said, 15)[::-1]
            rule = Rule(0, 1, tuple(atoms))
            other = [99, *range(20, 35)]
            change = Plan.of(rule, Example(0, 15, tokens, hits)).at(1, 15, other, rule, neutral)
            for position, token in zip(*change.put, strict=True):
                other[position] = token
            assert Text([(t, words[t]) for t in other]).holds(statement, 15)


def test_breaking_spares_the_other_atoms_and_controls_are_as_near() -> None:
    first, second = atom(1, ("offset", 2, 2), 13), atom(2, ("offset", 1, 1), 14)
    rule = Rule(0, 1, (first, second))
    change = broken(rule, first, Example(0, 15, TEXT, {1: [13], 2: [14]}), neutral, 4, 6)
    assert not isinstance(change, str)
    assert change.put == ((13,), (52,))
    assert change.controls == (((12,), (52,)), ((11,), (52,)), ((10,), (52,)), ((9,), (52,)))


@pytest.mark.parametrize(
    ("place", "hits", "why"),
    [
        (("offset", 1, 1), {1: [14], 2: [14]}, "its tokens are those of another atom"),
        (("offset", 0, None), {1: [15], 2: [13]}, "the position itself holds it"),
        (BEFORE, {1: list(range(1, 13)), 2: [13]}, "no room for controls"),
    ],
)  # fmt: skip
def test_what_cannot_be_broken_says_why(place: Any, hits: Any, why: str) -> None:
    rule = Rule(0, 1, (atom(1, place, 3), atom(2, BEFORE, 13)))
    assert broken(rule, rule.atoms[0], Example(0, 15, TEXT, hits), neutral, 4, 0) == why


@pytest.mark.parametrize(
    ("place", "at", "why"),
    [
        (BEFORE, 13, None),
        (("offset", 0, 0), 15, None),
        (("offset", 1, 1), None, "no room for what it denies"),
        (("copy", 0, None), None, "what it denies is looked for at copies"),
    ],
)
def test_what_a_rule_denies_is_put_where_it_is_denied(place: Any, at: int | None, why: str | None) -> None:
    rule = Rule(0, 1, (atom(1, ("offset", 1, 1), 14), atom(2, place, 40, 41, absent=True)))
    change = denied(rule, rule.atoms[1], Example(0, 15, TEXT, {1: [14]}), neutral, 4, [40, 41], 3)
    if isinstance(change, str):
        assert change == why
    else:
        assert change.put == ((at,), (41,))
        assert change.controls == tuple(((at,), (token,)) for token in NEUTRAL)
