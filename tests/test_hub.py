"""Sources on the hub: pinned, cached, and told apart when they fail. The hub is one on this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests import fake_hub
from tests.fake_hub import Hub, running_hub
from tests.planted import PlantedModel

ROOT = Path(__file__).parent.parent
# Loads what is slow once. Each line of its input is then a list of commands, which run one after another in one
# process, forked from here; the line it answers with says what each left behind.
SERVER = """
import contextlib, io, json, os, sys
import datasets, sae_lens, transformer_lens.model_bridge
from attnrules.cli import run
for line in sys.stdin:
    reader, writer = os.pipe()
    if os.fork() == 0:
        left = []
        try:
            for words in json.loads(line):
                out, err = io.StringIO(), io.StringIO()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    code = run(words)
                left.append((code, out.getvalue(), err.getvalue()))
        finally:
            with os.fdopen(writer, "w") as answer:
                json.dump(left, answer)
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        print(answer.read(), flush=True)
    os.wait()
"""
ANSWERS = {
    "unknown": fake_hub.NOT_FOUND,
    "private": fake_hub.UNAUTHORIZED,
    "gated": fake_hub.GATED,
    "busy": fake_hub.BUSY,
    "down": fake_hub.DOWN,
    "hangs": fake_hub.HANGS,
    "drops": fake_hub.DROPS,
}
ADVICE = {
    "unknown": "knows no such name; check it",
    "private": "log in with `hf auth login` if it is private",
    "gated": "access to it is restricted; ask for it on its page",
    "busy": "limiting requests (429); wait some minutes",
    "down": "out of order (503); run the same command again later, or set HF_HUB_OFFLINE=1",
    "hangs": "does not answer; run the same command again",
    "drops": "cannot be reached; check the network",
}


@dataclass
class Site:
    """The planted model on a hub, and a machine with an empty cache."""

    hub: Hub
    home: Path
    commits: dict[str, str] = field(default_factory=dict)
    servers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)

    def run(self, *commands: list[str], **environment: str) -> list[tuple[int, str, str]]:
        """Run commands in one new process; return their exit code, stdout and stderr."""
        server = self.server(environment)
        assert server.stdin is not None
        assert server.stdout is not None
        print(json.dumps(commands), file=server.stdin, flush=True)
        left = [tuple(of) for of in json.loads(server.stdout.readline())]
        assert len(left) == len(commands), left
        return left

    def server(self, environment: dict[str, str]) -> subprocess.Popen[str]:
        """Return the process that forks those of an environment, which the hub's library reads when loaded."""
        key = json.dumps(environment, sort_keys=True)
        if key not in self.servers:
            env = {
                **os.environ,
                "HF_ENDPOINT": self.hub.url,
                "HF_HOME": str(self.home / "cache"),
                "HF_HUB_OFFLINE": "0",
                "HF_HUB_ETAG_TIMEOUT": "1",
                "HF_HUB_DOWNLOAD_TIMEOUT": "1",
                **environment,
            }
            self.servers[key] = subprocess.Popen(
                [sys.executable, "-c", SERVER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=env,
            )
        return self.servers[key]

    @contextmanager
    def empty_cache(self) -> Iterator[None]:
        """Put the cache aside: another place for it would need a process that loads everything anew."""
        cache, aside = self.home / "cache", self.home / "aside"
        cache.mkdir(exist_ok=True)
        cache.rename(aside)
        try:
            yield
        finally:
            shutil.rmtree(cache, ignore_errors=True)
            aside.rename(cache)

    def close(self) -> None:
        """End the processes."""
        for server in self.servers.values():
            server.communicate()

    def ingest(self, name: str, **options: object) -> list[str]:
        """Return the words that ingest the planted model from the hub."""
        given: dict[str, object] = {
            "model": "planted/model",
            "input_sae": "planted/input",
            "output_sae": "planted/output",
            "corpus": "planted/corpus",
            "seq_len": 32,
            "sequences": 20,
            "min_attention": 0.0,
            "device": "cpu",
            **options,
        }
        words = [word for key, value in given.items() for word in (f"--{key.replace('_', '-')}", str(value))]
        return ["ingest", str(self.home / name), *words]


@pytest.fixture(scope="module")
def site(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    home = tmp_path_factory.mktemp("site")
    for folder in ("corpus", "script", "parquet/plain_text/train"):
        (home / folder).mkdir(parents=True)
    lines = planted.corpus_path.read_text().splitlines(keepends=True)
    (home / "corpus" / "train.jsonl").write_text("".join(lines[:150]))
    (home / "script" / "scripted.py").write_text("# a loading script, which datasets no longer runs")
    with duckdb.connect() as connection:
        texts = connection.read_json(str(home / "corpus" / "train.jsonl"))
        texts.write_parquet(str(home / "parquet/plain_text/train/0000.parquet"))
    with running_hub() as hub:
        site = Site(hub, home)
        for name, folder in {
            "models/planted/model": planted.model_dir,
            "models/planted/input": planted.input_sae_dir,
            "models/planted/output": planted.output_sae_dir,
            "datasets/planted/corpus": home / "corpus",
            "datasets/planted/scripted": home / "script",
            "models/gpt2": planted.model_dir,
            "models/jbloom/GPT2-Small-SAEs-Reformatted": planted.input_sae_dir,
            "models/danf0/attention-head-saes": planted.output_sae_dir,
            "datasets/Skylion007/openwebtext": home / "script",
        }.items():
            site.commits[name] = hub.serve(name, folder)
        parquet = hub.serve("datasets/planted/scripted", home / "parquet", "refs/convert/parquet")
        site.commits["parquet"] = parquet
        hub.serve("datasets/Skylion007/openwebtext", home / "parquet", "refs/convert/parquet")
        for kind, answer in ANSWERS.items():
            for key in (f"models/{kind}/it", f"datasets/{kind}/it"):
                hub.failures[key] = answer
        yield site
        site.close()


PRESET_OVERRIDES = ["--sequences", "20", "--seq-len", "32", "--min-attention", "0", "--device", "cpu"]


def values(path: Path, query: str) -> list[Any]:
    with duckdb.connect(str(path), read_only=True) as connection:
        return connection.execute(query).fetchall()


# --- failures --------------------------------------------------------------------------------------

OPTIONS = ("model", "input_sae", "output_sae", "corpus")


@pytest.fixture(scope="module")
def failed(site: Site) -> dict[tuple[str, str], tuple[int, str, str]]:
    """What each source gives for each answer of the hub; all in one process, imports cost seconds."""
    cases = [(option, kind) for kind in ANSWERS for option in OPTIONS]
    local = {  # everything but the source that fails lies on this machine
        "model": "planted/model",
        "input_sae": "planted/input",
        "output_sae": "planted/output",
        "corpus": str(site.home / "corpus" / "train.jsonl"),
    }
    words = [site.ingest("none.duckdb", **{**local, option: f"{kind}/it"}) for option, kind in cases]
    cases.append(("input_sae", "planted/input@v9"))
    words.append(site.ingest("none.duckdb", input_sae="planted/input@v9"))
    return dict(zip(cases, site.run(*words), strict=True))


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("kind", ANSWERS)
def test_a_failing_hub_is_told_from_a_bad_name(
    failed: dict[tuple[str, str], tuple[int, str, str]], option: str, kind: str
) -> None:
    code, out, err = failed[option, kind]
    complaints = [line for line in err.splitlines() if line.startswith("attnrules: ")]
    assert (code, out, len(complaints)) == (1, "", 1), err
    assert f"{kind}/it: " in complaints[0]
    assert ADVICE[kind] in complaints[0]
    assert "Traceback" not in err


def test_a_failing_hub_leaves_no_warehouse(
    failed: dict[tuple[str, str], tuple[int, str, str]], site: Site
) -> None:
    assert failed
    assert not list(site.home.glob("none.duckdb*"))


def test_a_revision_that_is_not_there_is_told_from_a_bad_name(
    failed: dict[tuple[str, str], tuple[int, str, str]],
) -> None:
    code, _, err = failed["input_sae", "planted/input@v9"]
    assert code == 1
    assert "input SAE planted/input@v9: the hub has it, but not in this revision" in err


# --- what is pinned and cached ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def fetched(site: Site) -> Path:
    """A warehouse ingested from the hub; beside it one of the scripted dataset and one of the preset."""
    outcomes = site.run(
        site.ingest("fetched.duckdb"),
        site.ingest("parquet.duckdb", corpus="planted/scripted"),
        ["ingest", str(site.home / "preset.duckdb"), "--preset", "gpt2-small", *PRESET_OVERRIDES],
    )
    assert [code for code, _, _ in outcomes] == [0, 0, 0], outcomes
    return site.home / "fetched.duckdb"


def test_the_commits_of_every_source_are_stored(fetched: Path, site: Site) -> None:
    assert values(fetched, "SELECT resolved_commit FROM model") == [(site.commits["models/planted/model"],)]
    assert values(fetched, "SELECT resolved_commit FROM corpus") == [
        (site.commits["datasets/planted/corpus"],)
    ]
    assert values(fetched, "SELECT DISTINCT role, resolved_commit FROM saes ORDER BY role") == [
        ("input", site.commits["models/planted/input"]),
        ("output", site.commits["models/planted/output"]),
    ]


def test_later_ingests_are_held_to_the_stored_commits(fetched: Path, site: Site, tmp_path: Path) -> None:
    moved = {}
    try:
        for key in [key for key in site.commits if "planted/" in key]:
            moved[key] = dict(site.hub.revisions[key])
            site.hub.serve(key, tmp_path)  # main has moved on to an empty commit
        more = Path(shutil.copy(fetched, site.home / "more.duckdb"))
        ((code, _, err),) = site.run(site.ingest("more.duckdb", sequences=40))
    finally:
        site.hub.revisions.update(moved)
    assert code == 0, err
    assert values(more, "SELECT sum(n_seqs) FROM chunks") == [(40,)]


def test_interventions_load_the_stored_commits(fetched: Path, site: Site, tmp_path: Path) -> None:
    path = Path(shutil.copy(fetched, site.home / "tested.duckdb"))
    moved = {key: dict(site.hub.revisions[key]) for key in site.commits if "models/planted/" in key}
    try:
        for key in moved:
            site.hub.serve(key, tmp_path)  # main has moved on to an empty commit
        mined, tested = site.run(
            ["mine", "absence", str(path), "--layers", "0", "--heads", "1"],
            ["intervene", str(path), "--layers", "0", "--heads", "1", "--device", "cpu"],
        )
    finally:
        site.hub.revisions.update(moved)
    assert mined[0] == 0, mined
    assert tested[0] == 0, tested
    assert values(path, "SELECT status FROM runs WHERE command = 'intervene'") == [("done",)]


def test_offline_uses_the_cache_and_names_what_it_lacks(fetched: Path, site: Site) -> None:
    assert fetched.exists()
    before = len(site.hub.requests)
    again, lacking, too_much = site.run(
        site.ingest("offline.duckdb"),
        site.ingest("lacking.duckdb", input_sae="never/seen"),
        site.ingest("offline.duckdb", sequences=100_000),
        HF_HUB_OFFLINE="1",
    )
    assert again[0] == 0, again[2]
    assert lacking[0] == 1
    assert "input SAE never/seen: it is not in the local cache, and HF_HUB_OFFLINE=1" in lacking[2]
    assert too_much[0] == 0
    assert "only what is in the local cache was read" in too_much[2]
    assert len(site.hub.requests) == before


def test_a_dataset_without_data_files_is_read_from_its_parquet_conversion(site: Site, fetched: Path) -> None:
    path = fetched.with_name("parquet.duckdb")
    assert values(path, "SELECT resolved_commit FROM corpus") == [(site.commits["parquet"],)]
    tokens = "SELECT token_id FROM tokens ORDER BY seq_id, pos"
    assert values(path, tokens) == values(fetched, tokens)


def test_the_preset_ingests_the_published_sources(site: Site, fetched: Path) -> None:
    path = fetched.with_name("preset.duckdb")
    assert values(path, "SELECT name, revision FROM model") == [("gpt2", "main")]
    assert values(path, "SELECT DISTINCT role, source, resolved_commit FROM saes ORDER BY role") == [
        (
            "input",
            "gpt2-small-res-jb",
            site.hub.revisions["models/jbloom/GPT2-Small-SAEs-Reformatted"]["main"],
        ),
        (
            "output",
            "danf0/attention-head-saes@main",
            site.hub.revisions["models/danf0/attention-head-saes"]["main"],
        ),
    ]
    openwebtext = site.hub.revisions["datasets/Skylion007/openwebtext"]
    assert values(path, "SELECT source, resolved_commit FROM corpus") == [
        ("Skylion007/openwebtext", openwebtext["refs/convert/parquet"])
    ]
    counts = "SELECT count(*), sum(activation) FROM output_activations"
    assert values(path, counts) == values(fetched, counts)


def test_options_override_the_preset_and_the_preset_the_defaults(fetched: Path) -> None:
    ((arguments,),) = values(fetched.with_name("preset.duckdb"), "SELECT arguments FROM runs")
    given = json.loads(arguments)
    assert (given["n_sequences"], given["corpus"]["seq_len"]) == (20, 32)
    assert (given["output_sae"], given["revision"]) == ("danf0/attention-head-saes@main", "main")


def test_presets_are_listed_and_an_unknown_one_is_named(attnrules: Any, tmp_path: Path) -> None:
    listed = attnrules("ingest", "--list-presets")
    assert listed.code == 0
    assert "gpt2-small" in listed.out
    assert "--input-sae gpt2-small-res-jb" in listed.out
    unknown = attnrules("ingest", tmp_path / "w.duckdb", "--preset", "gpt3")
    assert unknown.code == 2
    assert "gpt2-small" in unknown.err


def test_presets_name_no_commit_that_nobody_has_seen() -> None:
    from attnrules.ingest.sources.published import presets

    for known in presets().values():
        assert not re.search(r"[0-9a-f]{40}", json.dumps(known.options))


def test_a_dry_run_downloads_no_weights_and_says_what_it_would(site: Site) -> None:
    before = len(site.hub.requests)
    words = [
        "ingest",
        str(site.home / "dry.duckdb"),
        "--preset",
        "gpt2-small",
        "--dry-run",
        "--device",
        "cpu",
    ]
    with site.empty_cache():
        ((code, out, err),) = site.run(words)
    assert code == 0, err
    weights = (".safetensors", ".pt", ".parquet")
    assert not [r for r in site.hub.requests[before:] if r.startswith("GET") and r.endswith(weights)]
    assert not (site.home / "dry.duckdb").exists()
    for said in ("MB to download", "heads       8, 8 of them new", "sequences   50,000 in the end"):
        assert said in out, out
    for source in ("gpt2", "gpt2-small-res-jb", "danf0/attention-head-saes@main", "Skylion007/openwebtext"):
        assert re.search(rf"{re.escape(source)}: hub, commit [0-9a-f]{{40}}", out), out


# --- SAEs over whole layers ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def layer_saes(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints of the planted model's two layers, named and laid out as gpt2-small-hook-z-kk is."""
    import torch
    from sae_lens.loading.pretrained_saes_directory import get_pretrained_saes_directory

    config = json.loads((planted.model_dir / "config.json").read_text())
    width, d_sae = config["n_embd"] if "n_embd" in config else config["hidden_size"], 32
    folder = tmp_path_factory.mktemp("kk")
    files = get_pretrained_saes_directory()["gpt2-small-hook-z-kk"].saes_map
    for layer in range(2):
        name = files[f"blocks.{layer}.hook_z"]
        decoder = torch.randn(d_sae, width, generator=torch.Generator().manual_seed(layer)) / width**0.5
        state = {"W_enc": decoder.T.contiguous(), "W_dec": decoder}
        torch.save({**state, "b_enc": torch.zeros(d_sae), "b_dec": torch.zeros(width)}, folder / name)
        said = {
            "act_name": f"blocks.{layer}.attn.hook_z",
            "act_size": width,
            "dict_size": d_sae,
            "head": "cat",
        }
        (folder / name.replace(".pt", "_cfg.json")).write_text(json.dumps(said))
    return folder


def test_the_preset_of_whole_layers_ingests_the_published_sources(site: Site, layer_saes: Path) -> None:
    site.hub.serve("models/ckkissane/attn-saes-gpt2-small-all-layers", layer_saes)
    path = site.home / "kk.duckdb"
    dry = ["ingest", str(path), "--preset", "gpt2-small-kk", "--dry-run", "--device", "cpu"]
    (code, out, err), ingested = site.run(
        dry, ["ingest", str(path), "--preset", "gpt2-small-kk", *PRESET_OVERRIDES]
    )
    assert (code, ingested[0]) == (0, 0), err + ingested[2]
    assert "output SAEs over whole layers: 0, 1" in out
    query = "SELECT layer, head, source, hook_name FROM saes WHERE role = 'output' ORDER BY layer"
    assert values(path, query) == [
        (layer, -1, "gpt2-small-hook-z-kk", f"blocks.{layer}.attn.hook_z") for layer in range(2)
    ]
    assert values(path, "SELECT count(*) > 0 FROM output_activations WHERE head = -1") == [(True,)]


def test_gemma_scope_is_planned_from_the_layer_that_a_residual_sae_enters(site: Site, tmp_path: Path) -> None:
    config = {
        "model_type": "gemma2", "hidden_size": 2304, "num_hidden_layers": 26, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 256, "vocab_size": 48,
    }  # fmt: skip
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    site.hub.serve("models/google/gemma-2-2b", tmp_path / "model")
    # What the plan reads of the SAEs are sizes: W_enc, W_dec and biases of 16,384 features.
    places = (("res", 2304, 1, "average_l0_102"), ("att", 2048, 2, "average_l0_93"))
    for kind, width, layer, place in places:
        folder = tmp_path / kind / f"layer_{layer}" / "width_16k" / place
        folder.mkdir(parents=True)
        with (folder / "params.npz").open("wb") as file:
            file.truncate(4 * 16384 * (2 * width + 1))
        site.hub.serve(f"models/google/gemma-scope-2b-pt-{kind}", tmp_path / kind)
    corpus = str(site.home / "corpus" / "train.jsonl")
    words = ["ingest", str(tmp_path / "w.duckdb"), "--preset", "gemma-2-2b-scope", "--corpus", corpus]
    every, second = site.run(
        *([*words, "--device", "cpu", "--dry-run", *more] for more in ([], ["--layers", "2"]))
    )
    assert (every[0], second[0]) == (0, 0), every[2] + second[2]
    assert f"output SAEs over whole layers: {', '.join(map(str, range(1, 26)))}" in every[1]
    assert "heads       8, 8 of them new" in second[1]
    assert re.search(r"output_features +16,384", second[1])
