"""What a user sees: output formats, exit codes, help, documentation."""

from __future__ import annotations

import csv
import io
import json
import re
import shlex
from collections import defaultdict
from dataclasses import fields
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from attnrules.cli import cli
from attnrules.commands.card import folded
from attnrules.commands.lists import statements
from attnrules.queries.card import FeatureCard, feature_card
from attnrules.queries.heads import FeatureId
from attnrules.queries.questions import questions
from attnrules.warehouse import Warehouse

ROOT = Path(__file__).parent.parent
DOCUMENTATION = "\n".join(path.read_text("utf-8") for path in [ROOT / "README.md", *ROOT.glob("docs/*.md")])


def test_formats_agree(attnrules: Any, mined_once: Path) -> None:
    query = "SELECT layer, head, count(*) AS n FROM rules GROUP BY ALL ORDER BY ALL"
    form = {f: attnrules("query", mined_once, query, "--format", f).out for f in ("csv", "json", "jsonl")}
    rows = json.loads(form["json"])
    assert rows == [json.loads(line) for line in form["jsonl"].splitlines()]
    assert rows == [{k: int(v) for k, v in row.items()} for row in csv.DictReader(io.StringIO(form["csv"]))]
    assert rows


def test_parquet_goes_to_stdout(mined_once: Path) -> None:
    import subprocess
    import sys

    command = [
        sys.executable,
        "-m",
        "attnrules",
        "query",
        str(mined_once),
        "FROM heads",
        "--format",
        "parquet",
    ]
    done = subprocess.run(command, capture_output=True, cwd=ROOT, check=True)
    assert pl.read_parquet(io.BytesIO(done.stdout)).height == 8


def test_stdout_holds_data_only(attnrules: Any, mined_once: Path) -> None:
    outcome = attnrules("query", mined_once, "SELECT 1 AS one", "--format", "csv")
    assert outcome.out == "one\n1\n"


@pytest.mark.parametrize("name", questions())
def test_every_question_answers_with_its_defaults(attnrules: Any, mined_once: Path, name: str) -> None:
    assert attnrules("query", mined_once, name).code == 0


def test_parameters_reach_questions_and_sql(attnrules: Any, mined_once: Path) -> None:
    one = attnrules("query", mined_once, "best_features", "-p", "limit=1", "--format", "jsonl")
    assert len(one.out.splitlines()) == 1
    sql = attnrules("query", mined_once, "SELECT $x AS x", "-p", "x=7", "--format", "csv")
    assert sql.out == "x\n7\n"


def test_show_words_the_planted_rule(attnrules: Any, mined_once: Path, planted: Any) -> None:
    feature = next(f for (l, h, f) in planted.skipgram_rules if (l, h) == (0, 0))
    outcome = attnrules("show", mined_once, f"L0H0.{feature}", "--all-methods")
    assert outcome.code == 0
    # It writes nothing, so that its tokens are those that follow it in the corpus.
    assert re.search(rf"1  \['.*\] … \['.*\] → ('.*' \()?L0H0\.{feature}\b", outcome.out)


def test_show_names_the_command_that_mines_what_it_lacks(attnrules: Any, ingested: Path) -> None:
    path = ingested.rename(ingested.with_name("a b.duckdb"))
    with Warehouse.open(path) as opened:
        query = (
            "SELECT layer, head, feature FROM output_features WHERE n_sequences BETWEEN 150 AND 450 LIMIT 1"
        )
        [feature] = opened.rows(query)
    name = str(FeatureId(*feature))
    shown = attnrules("show", path, name).out
    assert "\n\n\n" not in shown
    [command] = re.findall(r"no rules yet: `attnrules (.+)` finds them in seconds", shown)
    assert attnrules(*shlex.split(command)).code == 0
    assert "no rules yet" not in attnrules("show", path, name).out


def test_mine_takes_a_warehouse_for_a_subcommand(attnrules: Any, tmp_path: Path) -> None:
    """Rules mostly are skip-gram rules; a word that is neither a subcommand nor a file is a slip."""
    missing = attnrules("mine", tmp_path / "none.duckdb", "--features", "1")
    assert (missing.code, "no such warehouse" in missing.err) == (3, True)
    slip = attnrules("mine", "absense", tmp_path / "none.duckdb")
    assert (slip.code, "No such command 'absense'" in slip.err) == (2, True)


def test_show_as_json_holds_the_same_rules(attnrules: Any, mined_once: Path, planted: Any) -> None:
    layer, head, feature = next(iter(planted.skipgram_rules))
    card = json.loads(attnrules("show", mined_once, f"L{layer}H{head}.{feature}", "--json").out)
    first = next(r for r in card["rules"] if r["method"] == "magnitude" and r["rank"] == 1)
    key_query = (first["key_feature"], first["query_feature"])
    assert key_query == planted.skipgram_rules[layer, head, feature][0]


@pytest.mark.parametrize("words", [("--help",), ("mine", "--help")])
def test_help_says_of_each_command_a_whole_sentence(attnrules: Any, words: tuple[str, ...]) -> None:
    listed = attnrules(*words).out.partition("Commands:\n")[2]
    said = re.split(r"\n  (?=\S)", f"\n{listed.rstrip()}")[1:]
    assert len(said) >= 3
    for one in said:
        assert re.search(r"[^.]\.?$", one)


def test_questions_are_listed_without_a_warehouse_too(attnrules: Any, mined_once: Path) -> None:
    listed = attnrules("query", "--list")
    assert listed.code == 0
    assert set(questions()) <= set(listed.out.split())
    assert attnrules("query", mined_once).out == attnrules("query", mined_once, "--list").out == listed.out


def test_info_counts_what_is_stored(attnrules: Any, mined_once: Path) -> None:
    inside = json.loads(attnrules("info", mined_once, "--json").out)
    assert inside["n_sequences"] == 600
    assert inside["rows"]["tokens"] == 600 * inside["corpus"]["seq_len"]
    with Warehouse.open(mined_once) as opened:
        [stated] = opened.rows("SELECT count(DISTINCT (layer, head, feature)), count(*) FROM stated_rules")
    assert [(r["n_features"], r["n_rules"]) for r in inside["rules"] if r["method"] == "stated"] == [stated]


def commands(group: Any, prefix: str = "attnrules") -> list[tuple[str, Any]]:
    found = []
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            found += commands(command, f"{prefix} {name}")
        else:
            found.append((f"{prefix} {name}", command))
    return found


@pytest.mark.parametrize("name", [name for name, _ in commands(cli)])
def test_every_command_is_documented(name: str) -> None:
    assert name in DOCUMENTATION


@pytest.mark.parametrize("name", questions())
def test_every_question_has_a_title_that_is_a_sentence(name: str) -> None:
    assert questions()[name].title.endswith(".")


def test_progress_is_a_bar_on_a_terminal(planted_spec: Any, tmp_path: Path) -> None:
    import os
    import pty
    import subprocess
    import sys

    words = ["ingest", str(tmp_path / "w.duckdb"), "--model", planted_spec.model]
    words += ["--input-sae", planted_spec.input_sae, "--output-sae", planted_spec.output_sae]
    words += ["--corpus", planted_spec.corpus.source, "--seq-len", "32", "--sequences", "100"]
    leader, follower = pty.openpty()
    command = [sys.executable, "-m", "attnrules", *words]
    process = subprocess.Popen(command, stdout=follower, stderr=follower, cwd=ROOT)
    os.close(follower)
    shown = b""
    # Reading a terminal whose other end has gone is an error, not an end of file.
    while True:
        try:
            shown += os.read(leader, 4096)
        except OSError:
            break
    os.close(leader)
    assert process.wait() == 0, shown
    assert b"100/100" in shown
    assert b"captured 100 sequences" in shown


def test_unknown_command_is_a_usage_error(attnrules: Any) -> None:
    assert attnrules("mnie").code == 2


def a_card(tokens: list[dict[str, Any]] | None = None) -> FeatureCard:
    empty: dict[str, Any] = {field.name: [] for field in fields(FeatureCard)}
    feature = {"layer": 0, "head": 3, "feature": 17}
    return FeatureCard(**{**empty, "feature": feature, "tokens": tokens or []})


def a_row(rank: int, key: str, query: str | None, v: float = 1.0, method: str = "weighted") -> dict[str, Any]:
    sides = {"key_feature": ord(key), "key_description": key}
    other = {"query_feature": query and ord(query), "query_description": query}
    rule = {"method": method, "scaling": "paper", "rank": rank, "through_head": 3, "value_score": v}
    return {**rule, **sides, **other}


def test_rules_are_stated_with_all_their_keys_and_queries() -> None:
    rows = [a_row(1, "a", None), a_row(1, "b", None), a_row(2, "c", None)]
    assert statements(a_card(), rows) == ["[a], [b] … → L0H3.17", "[c] … → L0H3.17"]
    rows = [a_row(1, k, q) for k in "ab" for q in "jk"]
    assert statements(a_card(), rows) == ["[a], [b] … [j], [k] → L0H3.17"]
    pairs = [a_row(1, "a", "j"), a_row(2, "b", "k"), a_row(3, "c", "j")]
    assert statements(a_card(), pairs) == ["[a], [c] … [j] → L0H3.17", "[b] … [k] → L0H3.17"]


def test_what_suppresses_is_stated_so_and_apart() -> None:
    pairs = [a_row(1, "a", "j"), a_row(2, "b", "j", -1), a_row(3, "c", "j", -1)]
    assert statements(a_card(), pairs) == ["[b], [c] … [j] ↛ L0H3.17", "[a] … [j] → L0H3.17"]
    # A mined rule says when the feature is active.
    assert statements(a_card(), [a_row(1, "a", "j", -1, "mined")]) == ["[a] … [j] → L0H3.17"]


def test_groups_are_stated_by_the_tokens_they_act_through() -> None:
    at = {"method": "weighted", "scaling": "paper"}
    tokens = [
        {**at, "rank": 1, "key_tokens": "'x' 60%, 'y' 9%", "query_tokens": "'z' 70%"},
        {**at, "rank": 2, "key_tokens": "'x' 99%", "query_tokens": None},
    ]
    rows = [*(a_row(1, k, q) for k in "ab" for q in "jk"), a_row(2, "c", None)]
    assert statements(a_card(tokens), rows) == [
        "['x' 60%, 'y' 9%; 2 keys] … ['z' 70%; 2 queries] → L0H3.17",
        "[c] … → L0H3.17",
    ]


def test_a_card_has_the_tokens_of_rules_with_several_keys_or_queries(mined_once: Path) -> None:
    kinds = set()
    with Warehouse.open(mined_once) as warehouse:
        for at in warehouse.rows(
            "SELECT DISTINCT layer, head, feature FROM rules WHERE method = 'weighted_gates'"
        ):
            card = feature_card(warehouse, FeatureId(*at))
            known = {(row["method"], row["scaling"], row["rank"]) for row in card.tokens}
            sides: dict[Any, tuple[set[int], set[int]]] = defaultdict(lambda: (set(), set()))
            for rule in card.rules:
                for side, name in zip(
                    sides[rule["method"], rule["scaling"], rule["rank"]], ("key", "query"), strict=True
                ):
                    side.add(rule[f"{name}_feature"])
            for rule, (keys, queries) in sides.items():
                if max(len(keys), len(queries)) > 1:
                    assert rule in known, (at, rule)
                    kinds.add((len(keys) > 1, len(queries) > 1))
    assert kinds >= {(True, False), (False, True)}


def test_memory_limit_is_a_size(mined: Path, attnrules: Any) -> None:
    options = ("--features", "all", "--layers", "0", "--heads", "0", "--examples-per-split", "3")
    for size in ("500MB", "12.5%"):
        limited = attnrules(
            "mine", "skipgrams", mined, *options, "--method", "unigram", "--memory-limit", size
        )
        assert limited.code == 0, limited.err
    for size in ("plenty", "0%", "0.0%", "120%"):
        refused = attnrules("mine", "skipgrams", mined, *options, "--memory-limit", size)
        assert refused.code == 2
        assert "--memory-limit" in refused.err
        assert "not a size such as 8GB or 25%" in refused.err


def test_mined_says_what_it_pruned(mined: Path, attnrules: Any) -> None:
    options = ("--features", "all", "--layers", "0", "--heads", "0", "--examples-per-split", "3")
    outcome = attnrules("mine", "skipgrams", mined, *options, "--method", "mined", "--no-baselines")
    assert outcome.code == 0, outcome.err
    # The planted head has fewer pairs than are counted at most.
    assert "L0H0: mined pairs counted in the corpus hold 100% of" in outcome.err


def test_figures_name_their_set_and_all_positions_come_first(attnrules: Any, mined_once: Path) -> None:
    [best] = json.loads(
        attnrules("query", mined_once, "best_features", "-p", "limit=1", "--format", "json").out
    )
    assert best["example_set"] == "all_positions"
    card = attnrules("show", mined_once, best["feature"]).out
    judged = card[card.index("rules on all test positions") :]
    assert judged.startswith(f"rules on all test positions ({best['base_rate']:.1%} active):")
    assert f"average precision {best['average_precision']:.2f}" in judged.partition("\n    1 ")[0]
    headline = attnrules("query", mined_once, "headline", "--format", "csv").out.splitlines()
    assert headline[1].startswith("mean average precision over all positions")


def test_mining_says_how_well_rules_predict_on_all_positions(mined: Path, attnrules: Any) -> None:
    outcome = attnrules(
        *("mine", "skipgrams", mined, "--layers", "0", "--heads", "0", "--examples-per-split", "10"),
        *("--method", "unigram", "--no-baselines"),
    )
    [said] = [line for line in outcome.err.splitlines() if "average precision" in line]
    assert re.fullmatch(
        r"L0H0: median of \d+ features, \d+ rules on all test positions \(.*% active\): .*", said
    )


def test_mining_without_all_positions_says_nothing_of_them(ingested: Path, attnrules: Any) -> None:
    outcome = attnrules(
        *("mine", "skipgrams", ingested, "--layers", "0", "--heads", "0", "--examples-per-split", "10"),
        *("--method", "unigram", "--no-baselines", "--example-sets", "paper"),
    )
    assert outcome.code == 0
    assert "average precision" not in outcome.err


@pytest.mark.parametrize("name", ["L0H0", "L1H0", "L0H1", "L0H2"])
def test_a_card_fits_a_screen(attnrules: Any, mined_once: Path, name: str) -> None:
    with Warehouse.open(mined_once) as warehouse:
        head = dict(zip(("layer", "head"), (int(name[1]), int(name[3])), strict=True))
        query = "SELECT DISTINCT feature FROM rules WHERE layer = $layer AND head = $head LIMIT 3"
        features = [feature for (feature,) in warehouse.rows(query, head)]
    assert features
    for feature in features:
        lines = attnrules("show", mined_once, f"{name}.{feature}").out.splitlines()
        assert len(lines) <= 50
        # What to run next is copied whole.
        assert [line for line in lines[:-1] if len(line) > 100] == []
        assert lines[-1].startswith("more: --all-methods")


def test_the_sources_of_an_example_are_marked(attnrules: Any, mined_once: Path, planted: Any) -> None:
    feature = next(f for (l, h, f) in planted.skipgram_rules if (l, h) == (0, 0))
    card = json.loads(attnrules("show", mined_once, f"L0H0.{feature}", "--json").out)
    assert len({(run["seq_id"], run["example_pos"]) for run in card["example_runs"]}) == 3
    with Warehouse.open(mined_once) as warehouse:
        for run in card["example_runs"]:
            at = {"feature": feature, "seq_id": run["seq_id"], "pos": run["example_pos"], "limit": 0}
            sources = warehouse.rows(
                "SELECT key_pos, contribution_from_features FROM dfa(0, 0, $feature, $seq_id, $pos)"
                " WHERE key_pos > $limit AND contribution_from_features > 0",
                at,
            )
            total = sum(contribution for _, contribution in sources)
            marked = {pos for pos, contribution in sources if contribution >= 0.1 * total}
            assert (run["pos"] in marked) == run["is_source"]
            assert (run["pos"] == run["example_pos"]) == run["is_here"]


def test_a_warehouse_alone_shows_its_heads(attnrules: Any, mined_once: Path) -> None:
    shown = attnrules("show", mined_once)
    assert (shown.code, len(re.findall(r"^L[01]H\d", shown.out, re.MULTILINE))) == (0, 8)
    heads = json.loads(attnrules("show", mined_once, "--json").out)["heads"]
    assert [f"L{row['layer']}H{row['head']}" for row in heads] == re.findall(
        r"^L[01]H\d", shown.out, re.MULTILINE
    )


def test_the_legend_needs_no_warehouse_and_names_real_sections(attnrules: Any) -> None:
    legend = attnrules("show", "--legend")
    assert legend.code == 0
    method = (Path(__file__).parent.parent / "docs/method.md").read_text("utf-8")
    sections = re.findall(r"section (\d+)", legend.out)
    assert sections
    assert [number for number in sections if f"\n## {number}" not in method] == []


def test_lines_are_folded_between_tokens() -> None:
    tokens = ", ".join(f"' token {i}' {i}%" for i in range(12))
    lines = folded(f"    1  [{tokens}] … → ' one', ' two' (L0H3.17)   (V 0.10; as read, right at 1 of 2)", 7)
    assert max(map(len, lines)) <= 100
    assert all(line.count("'") % 2 == 0 for line in lines)
    assert lines[-1].endswith("→ ' one', ' two' (L0H3.17)   (V 0.10; as read, right at 1 of 2)")
    assert [line[:7].strip() for line in lines[1:]] == [""] * (len(lines) - 1)
