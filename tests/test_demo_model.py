"""The embedded demo model and its SAEs, loaded without a network and measured on held-out text."""

from __future__ import annotations

import json
import os
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

os.environ["HF_HUB_OFFLINE"] = "1"

from attnrules.demo.corpus import iter_documents
from attnrules.errors import AttnRulesError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse
from benchmarks.demo_model.autoencoders import capture, load_bridge
from benchmarks.demo_model.figures import ablate_head, firing_rates, mean_loss, reconstruction
from benchmarks.demo_model.ngrams import NgramModel
from benchmarks.demo_model.recipe import LMRecipe, Site, input_sites, output_sites
from benchmarks.demo_model.text import cut_rows, random_rows, token_stream
from tests import slow

WEIGHTS = Path(__file__).parent.parent / "attnrules" / "demo" / "weights"
SITES = [*input_sites(LMRecipe()), *output_sites(LMRecipe())]
ROW_LEN = 64
N_ROWS = 128


@pytest.fixture(scope="module")
def bridge() -> Any:
    import torch

    torch.set_num_threads(1)
    return load_bridge(WEIGHTS / "attnrules-demo")


@pytest.fixture(scope="module")
def texts() -> dict[bool, list[str]]:
    parts: dict[bool, list[str]] = {False: [], True: []}
    for document in iter_documents():
        parts[document.held_out].append(document.text)
    return parts


@pytest.fixture(scope="module")
def held_out(bridge: Any, texts: dict[bool, list[str]]) -> Any:
    """Held-out rows [N_ROWS, ROW_LEN], spread over all held-out documents."""
    documents = [bridge.tokenizer.encode(text, add_special_tokens=False) for text in texts[True]]
    rows = cut_rows(documents, ROW_LEN, bridge.tokenizer.bos_token_id)
    return rows[:: max(1, len(rows) // N_ROWS)][:N_ROWS]


@pytest.fixture(scope="module")
def activations(bridge: Any, held_out: Any) -> dict[str, Any]:
    hooks = list(dict.fromkeys(site.hook_name for site in SITES))
    return capture(bridge, held_out, hooks, bridge.tokenizer.bos_token_id)


def load_sae(site: Site) -> Any:
    from sae_lens import SAE

    return SAE.load_from_disk(str(WEIGHTS / site.folder))


def test_held_out_loss_is_far_below_the_ngram_baselines(
    bridge: Any, texts: dict[bool, list[str]], held_out: Any
) -> None:
    documents = [
        bridge.tokenizer.encode(text, add_special_tokens=False) for text in islice(texts[False], 150)
    ]
    loss = mean_loss(bridge, held_out, [])
    rows = held_out.tolist()
    assert loss < NgramModel(documents, 1, LMRecipe.vocab_size).loss(rows) - 2.0
    assert loss < NgramModel(documents, 2, LMRecipe.vocab_size).loss(rows) - 0.5


def test_the_model_is_good_at_its_whole_context(bridge: Any, texts: dict[bool, list[str]]) -> None:
    documents = [bridge.tokenizer.encode(text, add_special_tokens=False) for text in texts[True]]
    rows = cut_rows(documents, LMRecipe.n_ctx, bridge.tokenizer.bos_token_id)
    assert mean_loss(bridge, rows[:16], []) < 4.5


@pytest.mark.parametrize("site", output_sites(LMRecipe()), ids=lambda site: site.folder)
def test_every_head_matters(bridge: Any, held_out: Any, site: Site) -> None:
    assert site.head is not None
    ablated = mean_loss(bridge, held_out, [(site.hook_name, ablate_head(site.head))])
    assert ablated > mean_loss(bridge, held_out, []) + 0.005


@pytest.mark.parametrize("site", SITES, ids=lambda site: site.folder)
def test_sae_reconstructs_sparsely(activations: dict[str, Any], site: Site) -> None:
    sae = load_sae(site)
    assert str(sae.dtype) == "torch.float32"
    assert sae.cfg.metadata.hook_name == site.hook_name
    assert sae.cfg.metadata.hook_head_index == site.head
    seen = activations[site.hook_name]
    seen = seen if site.head is None else seen[:, site.head]
    measured = reconstruction(sae, seen)
    assert 2 < measured["l0"] < 24
    assert measured["explained_variance"] > 0.7
    assert (firing_rates(sae, seen) > 0).float().mean() > 0.5


@pytest.fixture(scope="module")
def mined_head(texts: dict[bool, list[str]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small warehouse of one head of layer 1, with the importance rules of a few features."""
    folder = tmp_path_factory.mktemp("demo")
    corpus = folder / "corpus.jsonl"
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts[False][:100]))
    spec = IngestSpec(
        model=str(WEIGHTS / "attnrules-demo"),
        input_sae=str(WEIGHTS / "input_saes"),
        output_sae=str(WEIGHTS / "output_saes"),
        corpus=CorpusSpec(str(corpus), seq_len=ROW_LEN, keep_long_documents=True),
        layers=(1,),
        heads=(2,),
        n_sequences=N_ROWS,
        device="cpu",
    )
    ingest(folder / "demo.duckdb", spec)
    with Warehouse.open(folder / "demo.duckdb", writable=True) as warehouse:
        mine_skipgrams(
            warehouse,
            SkipgramSpec(
                method="importance", n_features=2, examples_per_split=8, example_sets=(), baselines=False
            ),
        )
    return folder / "demo.duckdb"


def test_stored_importance_is_the_gradient(mined_head: Path) -> None:
    with Warehouse.open(mined_head) as warehouse:
        tables = slow.Tables(warehouse, 1, 2)
        lists = slow.stored_lists(warehouse, 1, 2)
    assert len(tables.train_examples) == 2
    for f in tables.train_examples:
        keys = slow.candidate_keys(tables, f, 100, negative_values=False)
        expected = slow.importance(tables, f, sorted(keys), 100, "paper")
        found = [((i, j), score) for _, i, j, _, _, score in lists[f, "importance", "paper"]]
        slow.assert_ranked(found, expected, 4096, by_size=True)


def test_a_name_that_ends_in_a_slash_makes_a_lake(
    attnrules: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise AttnRulesError("what comes after the ingest is tested elsewhere")

    monkeypatch.setattr("attnrules.queries.skipgrams.mine_skipgrams", stop)
    told = attnrules("demo", f"{tmp_path}/lake/", "--sequences", 600)
    assert (told.code, "what comes after the ingest" in told.err) == (1, True)
    with Warehouse.open(tmp_path / "lake") as warehouse:
        assert warehouse.value("SELECT count(DISTINCT seq_id) FROM tokens") == 600
    assert (tmp_path / "lake" / "facts").is_dir()


def test_shipped_files_name_no_machine() -> None:
    for path in WEIGHTS.rglob("*.json"):
        content = json.loads(path.read_text())
        if path.name in ("cfg.json", "config.json"):
            text = json.dumps(content)
            assert not any(word in text for word in ("/home", "/root", "/tmp", "wandb", "\\\\"))


def test_shipped_files_are_small() -> None:
    assert sum(path.stat().st_size for path in WEIGHTS.rglob("*") if path.is_file()) < 12e6


def test_ngram_probabilities_sum_to_one() -> None:
    model = NgramModel([[1, 2, 3, 1, 2, 4, 1, 3], [2, 2, 1]], order=3, vocab_size=6)
    for context in ((), (1,), (1, 2), (5,), (5, 2)):
        assert sum(model.probability(context, token) for token in range(6)) == pytest.approx(1)


def test_rows_start_with_bos_and_go_on_with_the_text() -> None:
    import torch

    assert cut_rows([[1, 2, 3, 4, 5], [6]], 3, bos=0).tolist() == [[0, 1, 2], [0, 3, 4]]
    stream = token_stream([[1, 2, 3], [4, 5]], bos=0)
    assert stream.tolist() == [1, 2, 3, 0, 4, 5, 0]
    rows = random_rows(stream, 9, n_rows=5, row_len=4, generator=torch.Generator())
    assert rows.shape == (5, 4)
    assert rows[:, 0].tolist() == [9] * 5
    tokens = " ".join(map(str, stream.tolist()))
    assert all(" ".join(map(str, row[1:])) in tokens for row in rows.tolist())
