"""Bad input: one clear line that names the thing and the remedy, an exit code, nothing stored is lost."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import torch

from attnrules.ingest import IngestSpec
from attnrules.warehouse import Warehouse
from tests.planted import CHECKPOINT_NAME, PlantedModel

ROOT = Path(__file__).parent.parent


@pytest.fixture
def sources(planted: PlantedModel, tmp_path: Path) -> dict[str, Path]:
    """Private copies of the planted model, SAEs and corpus, to be spoilt."""
    copies = {
        "--model": planted.model_dir,
        "--input-sae": planted.input_sae_dir,
        "--output-sae": planted.output_sae_dir,
    }
    spoilt = {option: Path(shutil.copytree(path, tmp_path / path.name)) for option, path in copies.items()}
    return {**spoilt, "--corpus": Path(shutil.copy(planted.corpus_path, tmp_path / "corpus.jsonl"))}


def arguments(sources: dict[str, Path], **changed: object) -> list[object]:
    options: dict[str, object] = {**sources, "--seq-len": 32, "--sequences": 20, "--min-attention": 0.0}
    options |= {f"--{name.replace('_', '-')}": value for name, value in changed.items()}
    return [word for pair in options.items() for word in pair]


def complaint(outcome: Any, code: int) -> str:
    """Return the one line of complaint; there must be no traceback and nothing on stdout."""
    lines = [line for line in outcome.err.splitlines() if line.startswith("attnrules: ")]
    assert "Traceback" not in outcome.err
    assert "unexpected" not in outcome.err
    assert outcome.code == code, outcome.err
    assert outcome.out == ""
    assert len(lines) == 1, outcome.err
    return lines[0]


def edit_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def checkpoint(sources: dict[str, Path], layer: int = 0, head: int = 0) -> Path:
    return sources["--output-sae"] / f"{CHECKPOINT_NAME.format(layer=layer, head=head, version=10)}.pt"


# --- models, SAEs, corpora -------------------------------------------------------------------------


def no_model(s: dict[str, Path]) -> None:
    shutil.rmtree(s["--model"])
    s["--model"].mkdir()


def malformed_config(s: dict[str, Path]) -> None:
    (s["--model"] / "config.json").write_text("{not json")


def truncated_weights(s: dict[str, Path]) -> None:
    path = s["--model"] / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])


def no_input_saes(s: dict[str, Path]) -> None:
    shutil.rmtree(s["--input-sae"])


def empty_input_saes(s: dict[str, Path]) -> None:
    shutil.rmtree(s["--input-sae"])
    s["--input-sae"].mkdir()


def wrong_hook(s: dict[str, Path]) -> None:
    for path in s["--input-sae"].rglob("cfg.json"):
        edit_json(path, metadata={"sae_lens_version": "6.54.12", "hook_name": "blocks.0.hook_mlp_out"})


def malformed_sae_config(s: dict[str, Path]) -> None:
    next(s["--input-sae"].rglob("cfg.json")).write_text("{")


def wrong_width(s: dict[str, Path]) -> None:
    path = checkpoint(s)
    state = torch.load(path, weights_only=True)
    state["W_enc"] = torch.zeros(8, 24)
    state["W_dec"] = torch.zeros(24, 8)
    state["b_dec"] = torch.zeros(8)
    torch.save(state, path)


def missing_tensor(s: dict[str, Path]) -> None:
    path = checkpoint(s)
    state = torch.load(path, weights_only=True)
    del state["b_enc"]
    torch.save(state, path)


def no_such_head(s: dict[str, Path]) -> None:
    for suffix in (".pt", "_cfg.json"):
        source = checkpoint(s).with_name(checkpoint(s).stem + suffix)
        target = CHECKPOINT_NAME.format(layer=0, head=99, version=10)
        shutil.copy(source, source.with_name(target + suffix))
    edit_json(s["--output-sae"] / f"{target}_cfg.json", head=99)


def contradicting_config(s: dict[str, Path]) -> None:
    edit_json(checkpoint(s).with_name(checkpoint(s).stem + "_cfg.json"), act_name="blocks.1.attn.hook_z")


def not_finite(s: dict[str, Path]) -> None:
    path = checkpoint(s)
    state = torch.load(path, weights_only=True)
    state["W_enc"][0, 0] = float("nan")
    torch.save(state, path)


def no_corpus(s: dict[str, Path]) -> None:
    s["--corpus"].unlink()


def other_format(s: dict[str, Path]) -> None:
    s["--corpus"] = s["--corpus"].rename(s["--corpus"].with_suffix(".docx"))


def no_text_column(s: dict[str, Path]) -> None:
    s["--corpus"].write_text('{"body": "Montreal speaks"}\n')


def malformed_corpus(s: dict[str, Path]) -> None:
    s["--corpus"].write_text('{"text": "Montreal\n' * 3)


def short_documents(s: dict[str, Path]) -> None:
    s["--corpus"].write_text('{"text": "Montreal speaks"}\n' * 5)


@pytest.mark.parametrize(
    ("spoil", "names"),
    [
        (no_model, "config.json"),
        (malformed_config, "model"),
        (truncated_weights, "model"),
        (no_input_saes, "input_saes: no such folder"),
        (empty_input_saes, "none found in it"),
        (wrong_hook, "blocks.0.hook_mlp_out"),
        (malformed_sae_config, "cfg.json"),
        (wrong_width, "reads width 8"),
        (missing_tensor, "expected W_dec, W_enc, b_dec, b_enc"),
        (no_such_head, "L0H99"),
        (contradicting_config, "blocks.1.attn.hook_z"),
        (not_finite, "not finite"),
        (no_corpus, "corpus.jsonl: no such file"),
        (other_format, "format .docx is not known"),
        (no_text_column, "--text-column"),
        (malformed_corpus, "corpus.jsonl: cannot be read"),
        (short_documents, "smaller --seq-len"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bad_source_is_named_and_leaves_no_file(
    attnrules: Any,
    sources: dict[str, Path],
    tmp_path: Path,
    spoil: Callable[[dict[str, Path]], None],
    names: str,
) -> None:
    spoil(sources)
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *arguments(sources))
    assert names in complaint(outcome, 1)
    assert not list(tmp_path.glob("w.duckdb*"))


class Malicious:
    """Unpickling this makes a folder."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return (os.mkdir, (str(self.target),))


def test_a_pickle_with_code_is_refused_and_not_run(
    attnrules: Any, sources: dict[str, Path], tmp_path: Path
) -> None:
    with checkpoint(sources).open("wb") as file:
        pickle.dump({"W_enc": Malicious(tmp_path / "ran")}, file)
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *arguments(sources))
    assert "may hold code" in complaint(outcome, 1)
    assert not (tmp_path / "ran").exists()


def test_another_name_of_the_model_is_a_note_only(
    attnrules: Any, sources: dict[str, Path], tmp_path: Path
) -> None:
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *arguments(sources))
    assert outcome.code == 0
    assert "note: input SAE" in outcome.err


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"layers": "5"}, "model has layers 0 to 1"),
        ({"heads": "7"}, "model has heads 0 to 3"),
        ({"seq_len": 400}, "context of model is 80"),
        ({"layers": "x"}, None),
        ({"batch_size": "many"}, None),
        ({"sequences": 0}, None),
    ],
)
def test_an_impossible_request_is_a_usage_error(
    attnrules: Any, sources: dict[str, Path], tmp_path: Path, options: dict[str, object], names: str | None
) -> None:
    outcome = attnrules("ingest", tmp_path / "w.duckdb", *arguments(sources, **options))
    assert outcome.code == 2
    assert names is None or names in complaint(outcome, 2)
    assert not (tmp_path / "w.duckdb").exists()


# --- other settings into the same warehouse --------------------------------------------------------


def other_model(s: dict[str, Path], options: dict[str, object]) -> None:  # noqa: ARG001
    from safetensors.torch import load_file, save_file

    path = s["--model"] / "model.safetensors"
    weights = load_file(path)
    name = next(name for name in weights if name.endswith("wpe.weight"))
    weights[name] += 1
    save_file(weights, path, metadata={"format": "pt"})


def other_sae(s: dict[str, Path], options: dict[str, object]) -> None:  # noqa: ARG001
    path = checkpoint(s)
    state = torch.load(path, weights_only=True)
    state["b_enc"] += 1
    torch.save(state, path)


def other_rows(s: dict[str, Path], options: dict[str, object]) -> None:
    lines = s["--corpus"].read_text().splitlines(keepends=True)
    s["--corpus"].write_text("".join(reversed(lines)))
    options["sequences"] = 700


def other_seq_len(s: dict[str, Path], options: dict[str, object]) -> None:  # noqa: ARG001
    options["seq_len"] = 16


def other_threshold(s: dict[str, Path], options: dict[str, object]) -> None:  # noqa: ARG001
    options["min_attention"] = 0.5


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (other_model, "holds the model"),
        (other_sae, "holds the output SAE of L0H0"),
        (other_rows, "the corpus has changed"),
        (other_seq_len, "--seq-len 32, not 16"),
        (other_threshold, "--min-attention 0.0, not 0.5"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_other_settings_are_refused_with_the_difference(
    attnrules: Any,
    sources: dict[str, Path],
    ingested: Path,
    planted_spec: IngestSpec,
    change: Callable[[dict[str, Path], dict[str, object]], None],
    names: str,
) -> None:
    options: dict[str, object] = {"sequences": planted_spec.n_sequences}
    change(sources, options)
    before = contents(ingested)
    assert names in complaint(attnrules("ingest", ingested, *arguments(sources, **options)), 1)
    assert contents(ingested) == before


def contents(path: Path) -> dict[str, Any]:
    """A digest of every fact table."""
    with duckdb.connect(str(path), read_only=True) as connection:
        return {
            name: connection.execute(f"SELECT count(*), sum(hash(t)) FROM {name} AS t").fetchall()
            for name in ("tokens", "input_activations", "attention_sources", "chunks", "saes", "rules")
        }


# --- warehouses ------------------------------------------------------------------------------------


def test_a_missing_warehouse(attnrules: Any, tmp_path: Path) -> None:
    assert "no such warehouse" in complaint(attnrules("info", tmp_path / "none.duckdb"), 3)


def test_a_file_that_is_no_database(attnrules: Any, tmp_path: Path) -> None:
    path = tmp_path / "notes.duckdb"
    path.write_text("not a database " * 1000)
    digest = hashlib.sha256(path.read_bytes()).digest()
    assert "not a DuckDB database" in complaint(attnrules("info", path), 3)
    assert hashlib.sha256(path.read_bytes()).digest() == digest


def test_a_database_that_is_no_warehouse(attnrules: Any, tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "other.duckdb")) as connection:
        connection.execute("CREATE TABLE t (x INTEGER)")
    assert "not an attnrules warehouse" in complaint(attnrules("check", tmp_path / "other.duckdb"), 3)


@pytest.mark.parametrize(("version", "remedy"), [(2, "run `attnrules upgrade "), (99, "upgrade attnrules")])
def test_another_schema_version(attnrules: Any, ingested: Path, version: int, remedy: str) -> None:
    with duckdb.connect(str(ingested)) as connection:
        connection.execute("UPDATE schema_version SET version = ?", [version])
    assert remedy in complaint(attnrules("info", ingested), 3)


def test_a_folder_in_place_of_a_warehouse(attnrules: Any, tmp_path: Path) -> None:
    assert "is a folder" in complaint(attnrules("info", tmp_path), 3)


def test_a_folder_that_does_not_exist(attnrules: Any, sources: dict[str, Path], tmp_path: Path) -> None:
    outcome = attnrules("ingest", tmp_path / "none" / "w.duckdb", *arguments(sources))
    assert "does not exist" in complaint(outcome, 3)


def test_a_locked_warehouse_names_its_holder(attnrules: Any, ingested: Path) -> None:
    script = f"import duckdb, sys; c = duckdb.connect({str(ingested)!r}); print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        line = complaint(attnrules("info", ingested), 3)
    finally:
        holder.kill()
        holder.wait()
    assert f"process {holder.pid}" in line


def test_a_full_disk_loses_nothing(attnrules: Any, sources: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "w.duckdb"
    assert attnrules("ingest", path, *arguments(sources)).code == 0
    before = contents(path)
    words = ["ingest", path, *arguments(sources, sequences=600)]
    limit = path.stat().st_size + 200_000
    script = (
        "import resource, signal, sys; from attnrules.cli import run;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        f"sys.exit(run({[str(word) for word in words]!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=False
    )
    complaints = [line for line in done.stderr.splitlines() if line.startswith("attnrules: ")]
    assert done.returncode == 1, done.stderr
    assert len([line for line in complaints if "note:" not in line]) == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert contents(path) == before
    assert attnrules("check", path).code == 0
    assert attnrules("ingest", path, *arguments(sources, sequences=600)).code == 0


# --- names, numbers, queries -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["show", "{w}", "cats"], "L0H3.17"),
        (["show", "{w}", "L9H0.1"], "L9H0.1: not in this warehouse"),
        (["mine", "skipgrams", "{w}", "--features", "cats"], "L0H3.17"),
        (["mine", "skipgrams", "{w}", "--features", "L0H0.999"], "features 0 to 23"),
        (["mine", "skipgrams", "{w}", "--layers", "9"], "--layers 9: not in this warehouse"),
        (["query", "{w}", "best_featrues"], "no question named"),
        (["query", "{w}", "best_features", "-p", "limits=3"], "no parameter 'limits'"),
        (["query", "{w}", "best_features", "-p", "limit"], "key=value"),
        (["query", "{w}", "best_features", "-p", "min_f1=1e999"], "not a number"),
        (["query", "{w}", "best_features", "--timeout", "nan"], "'nan' is no number"),
        (
            ["query", "{w}", "why_attends", "-p", "query_pos=3", "-p", "key_pos=9"],
            "stands behind query_pos=3",
        ),
        (["mine", "{w}", "--features", "L0H0.1", "--layers", "1"], "--layers 1: leaves out L0H0"),
        (
            ["mine", "absence", "{w}", "--features", "L0H0.1", "--heads", "1,2"],
            "--heads 1, 2: leaves out L0H0",
        ),
        (["report", "{w}", "{w}.pages", "--features", "L9H9.1"], "L9H9.1: not in this warehouse"),
        (["report", "{w}", "{w}.pages", "--features", ""], "'': not a feature"),
        (
            ["intervene", "{w}", "--rules", "3"],
            "--rules: the test of absence and counting rules does not use",
        ),
        (["intervene", "{w}", "--outputs", "--copies", "3"], "--copies: --outputs does not use it"),
        (["intervene", "{w}", "--stated", "--scaling", "paper"], "--scaling: --stated does not use it"),
        (["intervene", "{w}", "--probe", "--features", "L0H0.1"], "--features: --probe does not use it"),
    ],
)
def test_a_name_that_does_not_exist(attnrules: Any, mined_once: Path, words: list[str], names: str) -> None:
    assert names in complaint(attnrules(*(word.format(w=mined_once) for word in words)), 2)


def test_sql_that_fails(attnrules: Any, mined_once: Path) -> None:
    assert "query failed" in complaint(attnrules("query", mined_once, "SELEC 1 AS x"), 1)


def test_sql_that_writes(attnrules: Any, mined: Path) -> None:
    before = contents(mined)
    assert "read-only" in complaint(attnrules("query", mined, "DELETE FROM rules"), 1)
    assert contents(mined) == before


def test_too_few_sequences_for_examples(attnrules: Any, ingested: Path) -> None:
    words = ("mine", "skipgrams", ingested, "--examples-per-split", "200")
    assert "--examples-per-split" in attnrules(*words).err
    assert attnrules(*words).code == 1


def test_an_ineligible_feature_is_named_with_its_count(
    attnrules: Any, ingested: Path, planted: PlantedModel
) -> None:
    always = planted.output_features[0, 0, "always"]
    outcome = attnrules("mine", "skipgrams", ingested, "--features", f"L0H0.{always}")
    assert outcome.code == 1
    assert f"L0H0.{always}: active in 600 of 600 sequences" in outcome.err


@pytest.mark.parametrize(("method", "some_rules"), [("magnitude", True), ("weighted", False)])
def test_a_least_count_below_the_examples_is_honoured(
    attnrules: Any, ingested: Path, planted: PlantedModel, method: str, some_rules: bool
) -> None:
    silent = next(f for f in range(1000) if (0, 0, f) not in planted.output_feature_names)
    words = ("--features", f"L0H0.{silent}", "--min-count", "0", "--method", method)
    outcome = attnrules("mine", "skipgrams", ingested, *words)
    assert outcome.code == 0
    assert "L0H0: 1 of 1 features have 0 sequences of one kind" in outcome.err
    with Warehouse.open(ingested) as warehouse:
        n_rules = warehouse.value("SELECT count(*) FROM rules")
    assert (n_rules > 0) == some_rules
