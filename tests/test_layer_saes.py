"""Output SAEs over a whole layer: what is stored is the function that the SAE computes of its heads, or it is refused."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from attnrules import sql
from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest import IngestSpec, ingest
from attnrules.ingest.intervene import Laboratory, LaboratorySpec
from attnrules.ingest.sources.corpus import CorpusSpec
from attnrules.ingest.sources.model import load_model
from attnrules.queries.absence import AbsenceSpec, mine_absence
from attnrules.queries.counting import CountingSpec, mine_counting
from attnrules.queries.interventions import (
    InterveneSpec,
    ProbeSpec,
    StatedSpec,
    intervene,
    intervene_on_stated,
    probe,
)
from attnrules.queries.skipgrams import SkipgramSpec, mine_skipgrams
from attnrules.warehouse import Warehouse, check
from tests.planted import PlantedModel
from tests.test_other_models import add_tokenizer, build
from tests.test_pipeline import dense, random_gpt2, random_llama, random_sae, same
from tests.test_stated_on_model import store

N_SEQ, SEQ_LEN, D_MODEL, D_HEAD, N_HEADS, D_SAE = 6, 10, 24, 6, 4, 16
LAYER = 1
Z, ATTN_OUT = f"blocks.{LAYER}.attn.hook_z", f"blocks.{LAYER}.hook_attn_out"
# Family of the model, hook of the SAE, and what its configuration says besides.
UNPROCESSED: dict[str, Any] = {"metadata": {"model_from_pretrained_kwargs": {}}}
KINDS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gpt2 z": ("gpt2", Z, {"reshape_activations": "hook_z"}),
    "gpt2 z, flat, unprocessed": ("gpt2", Z, UNPROCESSED),
    "gpt2 attn_out": ("gpt2", ATTN_OUT, {}),
    "gpt2 attn_out, unprocessed": ("gpt2", ATTN_OUT, UNPROCESSED),
    "llama z": ("llama", Z, {}),
    "llama attn_out": ("llama", ATTN_OUT, {"apply_b_dec_to_input": False}),
    "pythia z": ("gpt-neox", Z, {}),
    "pythia attn_out": ("gpt-neox", ATTN_OUT, UNPROCESSED),
    "gemma 2 z": ("gemma-2", Z, {"apply_b_dec_to_input": False}),
}


def write_sae(folder: Path, hook_name: str, **options: Any) -> Path:
    """Write a SAELens folder of a standard SAE with random weights, as SAELens itself does."""
    from sae_lens import SAE

    metadata = {"hook_name": hook_name, "hook_head_index": None, **options.pop("metadata", {})}
    module = SAE.from_dict(
        {"architecture": "standard", "d_in": D_MODEL, "d_sae": D_SAE, "metadata": metadata, **options}
    )
    generator = torch.Generator().manual_seed(len(options))
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter, std=0.4, generator=generator)
    module.save_model(folder)
    return folder


def write_model(folder: Path, family: str, planted: PlantedModel) -> Path:
    torch.manual_seed(0)
    if family == "gpt2":
        random_gpt2(folder)
    elif family == "llama":
        random_llama(folder)
    else:
        model = build(family)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
        model.save_pretrained(folder)
    add_tokenizer(folder, planted)
    return folder


def spec_of(planted: PlantedModel, home: Path, outputs: str = "out") -> IngestSpec:
    if not (home / "in").exists():
        random_sae(home / "in" / "sae", f"blocks.{LAYER}.hook_resid_pre", None, D_MODEL, 20)
    return IngestSpec(
        model=str(home / "model"),
        input_sae=str(home / "in"),
        output_sae=str(home / outputs),
        corpus=CorpusSpec(str(planted.corpus_path), seq_len=SEQ_LEN),
        n_sequences=N_SEQ,
        min_attention=0.0,
        device="cpu",
    )


@dataclass(frozen=True)
class Made:
    """A warehouse; the hooks of the processed model; what the SAE reads, its module, and W_O on hook_attn_out."""

    path: Path
    hooks: dict[str, torch.Tensor]
    reads: torch.Tensor
    output_sae: Any
    W_O: torch.Tensor | None

    def rows(self, query: str) -> list[Any]:
        with Warehouse.open(self.path) as warehouse:
            return warehouse.rows(query)

    def encoders(self) -> torch.Tensor:
        """[n_heads, d_sae, d_head]"""
        rows = self.rows("SELECT encoder FROM feature_heads ORDER BY through_head, feature")
        return torch.tensor([row[0] for row in rows]).reshape(N_HEADS, D_SAE, D_HEAD)

    def bias(self) -> torch.Tensor:
        rows = self.rows("SELECT preactivation_bias FROM output_features ORDER BY feature")
        return torch.tensor([row[0] for row in rows], dtype=torch.float32)

    def preactivations(self, read: torch.Tensor) -> torch.Tensor:
        """What the SAE's own module makes of what it reads, before its ReLU."""
        module = self.output_sae
        centre = module.b_dec if module.cfg.apply_b_dec_to_input else 0
        return ((read - centre) @ module.W_enc + module.b_enc).detach()

    def values(self) -> torch.Tensor:
        """Values of every head, those of grouped heads repeated: [seq, pos, n_heads, d_head]."""
        stored = self.hooks[f"blocks.{LAYER}.attn.hook_v"].reshape(N_SEQ, SEQ_LEN, -1, D_HEAD)
        return stored.repeat_interleave(N_HEADS // stored.shape[2], dim=2)


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS)
def made(
    request: pytest.FixtureRequest, planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory
) -> Made:
    from sae_lens import SAE
    from transformer_lens.model_bridge import TransformerBridge

    family, hook_name, options = request.param
    home = tmp_path_factory.mktemp("layer")
    write_model(home / "model", family, planted)
    write_sae(home / "out" / "sae", hook_name, **options)
    ingest(home / "w.duckdb", spec_of(planted, home))
    with Warehouse.open(home / "w.duckdb") as warehouse:
        rows = warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos")
    tokens = torch.tensor(rows).reshape(N_SEQ, SEQ_LEN)
    bridge = load_model(str(home / "model"), revision=None, device="cpu").bridge
    read = bridge
    if "metadata" in options:
        read = TransformerBridge.boot_transformers(str(home / "model"), device="cpu", dtype=torch.float32)
        read.enable_compatibility_mode(disable_warnings=True, no_processing=True)
    with torch.no_grad():
        (_, hooks), (_, of_sae) = (b.run_with_cache(tokens, prepend_bos=False) for b in (bridge, read))
    output_sae = SAE.load_from_disk(home / "out" / "sae")
    output_sae.turn_off_forward_pass_hook_z_reshaping()
    return Made(
        home / "w.duckdb",
        dict(hooks.items()),
        of_sae[hook_name].reshape(N_SEQ, SEQ_LEN, D_MODEL),
        output_sae,
        read.blocks[LAYER].attn.W_O.detach() if hook_name == ATTN_OUT else None,
    )


def test_a_warehouse_passes_its_checks(made: Made) -> None:
    with Warehouse.open(made.path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []


def test_contributions_of_heads_and_sources_add_up_to_the_preactivation(made: Made) -> None:
    pattern = made.hooks[f"blocks.{LAYER}.attn.hook_pattern"]
    read_off = torch.einsum("skhd,hfd->shkf", made.values(), made.encoders())
    found = torch.einsum("shqk,shkf->sqf", pattern, read_off) + made.bias()
    same(found, made.preactivations(made.reads))


def test_stored_activations_are_those_of_the_sae(made: Made) -> None:
    query = "SELECT seq_id, pos, feature, activation FROM output_activations WHERE head = -1"
    found = dense(made.path, query, (N_SEQ, SEQ_LEN, D_SAE))
    assert int((found > 0).sum()) > 50
    same(found, made.output_sae.encode(made.reads))


def test_stored_contributions_add_up_to_the_preactivation_of_what_features_rebuild(made: Made) -> None:
    attn_bias = torch.tensor([row[0] for row in made.rows("SELECT b_V FROM heads ORDER BY head")])
    vectors = made.rows("SELECT value_vector FROM projections ORDER BY head, feature")
    rows = torch.tensor([row[0] for row in vectors]).reshape(N_HEADS, 20, D_HEAD)
    offset = torch.tensor([row[0] for row in made.rows("SELECT decoder_bias_value FROM heads ORDER BY head")])
    inputs = dense(
        made.path, "SELECT seq_id, pos, feature, activation FROM input_activations", (N_SEQ, SEQ_LEN, 20)
    )
    scale = dense(made.path, "SELECT seq_id, pos, ln_scale FROM token_scales", (N_SEQ, SEQ_LEN))
    values = (torch.einsum("ski,hid->skhd", inputs, rows) + offset) / scale[..., None, None] + attn_bias
    pattern = made.hooks[f"blocks.{LAYER}.attn.hook_pattern"]
    z = torch.einsum("shqk,skhd->sqhd", pattern, values)
    expected = torch.einsum("sqhd,hfd->sqf", z, made.encoders()) + made.bias()
    places = [(s, q, f) for s in (0, 3) for q in (1, SEQ_LEN - 1) for f in (0, 7)]
    with Warehouse.open(made.path) as warehouse:
        found = [
            warehouse.value(
                f"SELECT (SELECT sum(contribution_from_features) FROM dfa({LAYER}, -1, {f}, {s}, {q}))"
                f" + preactivation_bias FROM output_features WHERE feature = {f}"
            )
            for s, q, f in places
        ]
    same(torch.tensor(found, dtype=torch.float32), torch.stack([expected[place] for place in places]))


def test_value_scores_through_a_head(made: Made) -> None:
    vectors = made.rows("SELECT value_vector FROM projections WHERE head = 2 ORDER BY feature")
    expected = torch.tensor([row[0] for row in vectors]) @ made.encoders()[2].T
    found = made.rows(f"SELECT value_score_through({LAYER}, -1, 5, 2, i) FROM range(20) AS t(i) ORDER BY i")
    same(torch.tensor(found)[:, 0], expected[:, 5])


def test_shares_by_data_are_those_of_what_heads_bring(made: Made) -> None:
    z = made.hooks[Z].reshape(N_SEQ, SEQ_LEN, N_HEADS, D_HEAD)
    brought = torch.einsum("sqhd,hfd->sqhf", z, made.encoders())
    active = (made.output_sae.encode(made.reads) > 0).float()
    total = torch.einsum("sqhf,sqf->fh", brought, active) / active.sum((0, 1))[:, None]
    rows = made.rows("SELECT mean_contribution, data_share FROM feature_heads ORDER BY feature, through_head")
    found = torch.tensor([[np.nan if x is None else x for x in row] for row in rows]).float()
    fires = active.sum((0, 1)) > 0
    same(found[:, 0].reshape(D_SAE, N_HEADS)[fires], total[fires])
    same(found[:, 1].reshape(D_SAE, N_HEADS)[fires], (total.abs() / total.abs().sum(1, keepdim=True))[fires])


def test_shares_by_weights_are_those_of_the_decoder_row(made: Made) -> None:
    decoder = made.output_sae.W_dec.detach()
    if made.W_O is None:
        norms = decoder.reshape(D_SAE, N_HEADS, D_HEAD).norm(dim=-1)
    else:
        norms = torch.einsum("fm,hdm->fhd", decoder, made.W_O).norm(dim=-1)
    rows = made.rows("SELECT weight_share FROM feature_heads ORDER BY feature, through_head")
    found = torch.tensor(rows).float().reshape(D_SAE, N_HEADS)
    same(found, norms / norms.sum(1, keepdim=True))


# --- beside SAEs of single heads --------------------------------------------------------------------


@pytest.fixture
def home(planted: PlantedModel, tmp_path: Path) -> Path:
    """A random GPT-2 with an SAE over a whole layer in `out`, and SAEs of two heads in `heads`."""
    write_model(tmp_path / "model", "gpt2", planted)
    write_sae(tmp_path / "out" / "sae", Z)
    for head in (1, 2):
        random_sae(tmp_path / "heads" / str(head), Z, head, D_HEAD, 8)
    return tmp_path


def contents(path: Path) -> dict[str, list[Any]]:
    tables = {
        "output_features": "layer, head, feature, n_tokens, preactivation_bias, description",
        "feature_heads": "layer, head, feature, through_head, round(weight_share, 6), round(data_share, 3)",
        "output_activations": "layer, head, seq_id, pos, feature, round(activation, 3)",
        "attention_sources": "layer, head, seq_id, query_pos, key_pos, round(weight, 4)",
        "projections": "layer, head, feature, key_vector",
        "heads": "layer, head, b_V",
    }
    with Warehouse.open(path) as warehouse:
        assert [result for result in check(warehouse) if result.n_problems] == []
        return {
            table: warehouse.rows(f"SELECT {columns} FROM {table} ORDER BY ALL")
            for table, columns in tables.items()
        }


def heads_of_chunks(path: Path) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return [row[0] for row in warehouse.rows("SELECT heads FROM chunks ORDER BY chunk_id")]


def test_both_kinds_are_added_to_each_other_in_any_order(planted: PlantedModel, home: Path) -> None:
    shutil.copytree(home / "out", home / "both" / "layer")
    shutil.copytree(home / "heads", home / "both" / "heads")
    ingest(home / "together.duckdb", spec_of(planted, home, "both"))
    for first, second in (("out", "heads"), ("heads", "out")):
        path = home / f"{first}.duckdb"
        ingest(path, replace(spec_of(planted, home, first), n_sequences=4, chunk_size=3))
        # What was stored first needs the further sequences too, from where it came.
        ingest(path, spec_of(planted, home, second))
        assert contents(path) == contents(home / "together.duckdb")
    assert heads_of_chunks(path)[0] == ["L1", "L1H0:attention", "L1H1", "L1H2", "L1H3:attention"]


def test_an_sae_is_replaced_with_all_that_came_from_it(planted: PlantedModel, home: Path) -> None:
    spec = spec_of(planted, home)
    ingest(home / "w.duckdb", spec)
    ingest(home / "w.duckdb", spec_of(planted, home, "heads"))
    write_sae(home / "other" / "sae", ATTN_OUT)
    other = spec_of(planted, home, "other")
    with pytest.raises(AttnRulesError, match=r"the output SAE of L1 from .* --replace-output-sae"):
        ingest(home / "w.duckdb", other)
    ingest(home / "w.duckdb", replace(other, replace_output_saes=True))
    ingest(home / "fresh.duckdb", other)
    ingest(home / "fresh.duckdb", spec_of(planted, home, "heads"))
    assert contents(home / "w.duckdb") == contents(home / "fresh.duckdb")


def test_an_interrupted_ingest_goes_on(planted: PlantedModel, home: Path) -> None:
    spec = replace(spec_of(planted, home), batch_size=1, chunk_size=2)

    def stop(progress: Any) -> None:
        if progress.done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ingest(home / "w.duckdb", spec, stop)
    ingest(home / "w.duckdb", spec)
    ingest(home / "whole.duckdb", spec)
    assert contents(home / "w.duckdb") == contents(home / "whole.duckdb")


def test_damage_to_what_heads_bring_is_found(planted: PlantedModel, home: Path) -> None:
    ingest(home / "w.duckdb", spec_of(planted, home))
    with Warehouse.open(home / "w.duckdb", writable=True) as warehouse:
        warehouse.execute("UPDATE feature_heads SET through_head = 3 WHERE feature = 2 AND through_head = 1")
        warehouse.execute(
            "UPDATE feature_heads SET mean_contribution = mean_contribution + 1 WHERE through_head = 0"
        )
        found = {result.name: result.first_problem for result in check(warehouse) if result.n_problems}
    assert {*found} == {"feature_heads", "contents of feature_heads"}
    with Warehouse.open(home / "w.duckdb", writable=True) as warehouse:
        problems = [row[0] for row in warehouse.rows(sql.checks()["feature_heads"])]
    assert "L1.2: 4 rows for 3 heads stored, it reads 4" in problems
    assert any("its heads bring" in problem for problem in problems)


def test_a_laboratory_reads_the_activations_that_are_stored(planted: PlantedModel, home: Path) -> None:
    ingest(home / "w.duckdb", spec_of(planted, home))
    # The last ingest names other SAEs: those of the layer are found where they came from.
    ingest(home / "w.duckdb", spec_of(planted, home, "heads"))
    with Warehouse.open(home / "w.duckdb") as warehouse:
        tokens = np.array(warehouse.rows("SELECT token_id FROM tokens ORDER BY seq_id, pos")).reshape(
            N_SEQ, -1
        )
        rows = warehouse.rows(
            "SELECT seq_id, pos, feature, activation FROM output_activations WHERE head = -1 AND pos > 2 LIMIT 9"
        )
        attention = warehouse.rows(
            "SELECT seq_id, query_pos, weight FROM attention_sources WHERE head = 3 AND key_pos = 1"
        )
        seq, pos, feature, activation = (np.array(column) for column in zip(*rows, strict=True))
        nowhere = np.zeros((len(seq), SEQ_LEN), bool)
        at_1 = nowhere.copy()
        at_1[:, 1] = True
        trials = {
            "tokens": tokens[seq],
            "query_pos": pos,
            "feature": feature,
            "through_head": np.full(len(seq), 3),
            "keys": at_1,
            "changed": nowhere,
            "probe": np.zeros(len(seq), int),
        }
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        read = laboratory.measure(LAYER, -1, trials)
        facts = laboratory.facts(tokens[0], [(LAYER, -1)])["output_activations"]
        stored = warehouse.rows(
            "SELECT pos, feature, activation FROM output_activations WHERE head = -1 AND seq_id = 0 ORDER BY ALL"
        )
    order = np.lexsort((facts["feature"], facts["pos"]))
    found = np.c_[facts["pos"], facts["feature"], facts["activation"]][order]
    np.testing.assert_allclose(found, stored, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(read["activation"], activation, rtol=1e-4, atol=1e-5)
    expected = {(s, q): weight for s, q, weight in attention}
    np.testing.assert_allclose(
        read["attention_to_key"], [expected[at] for at in zip(seq, pos, strict=True)], rtol=1e-4
    )


def test_its_rules_are_mined_and_tested_on_the_model_through_their_heads(
    planted: PlantedModel, home: Path
) -> None:
    ingest(home / "w.duckdb", replace(spec_of(planted, home), n_sequences=40))
    with Warehouse.open(home / "w.duckdb", writable=True) as warehouse:
        mine_skipgrams(warehouse, SkipgramSpec(n_features=2, min_count=0, max_count=40, examples_per_split=1))
        mine_absence(warehouse, AbsenceSpec(pairs=20))
        mine_counting(warehouse, CountingSpec(min_support=1))
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        intervene(warehouse, InterveneSpec(n_examples=3, copies=1, n_controls=1), laboratory)
        # What is probed are heads, here those that the SAE reads.
        probe(warehouse, ProbeSpec(heads=(1, 3), n_tokens=3, n_sequences=2), laboratory)
        assert warehouse.rows("SELECT DISTINCT layer, head FROM head_probes ORDER BY ALL") == [(1, 1), (1, 3)]
        before = stored_by_head(warehouse)
        intervene(warehouse, InterveneSpec(heads=(3,), n_examples=2, copies=1, n_controls=1), laboratory)
        after = stored_by_head(warehouse)
        # Tested anew is what acts through that head, and nothing else is lost.
        assert [row for row in after if row[1] != 3] == [row for row in before if row[1] != 3]
        assert [row[:4] for row in after] == [row[:4] for row in before]
        assert {row[-1] for row in after if row[1] == 3} & {row[-1] for row in before} == set()
        rows = warehouse.rows(
            "SELECT d.through_head, i.attention_to_key, a.weight, i.activation, o.activation"
            " FROM interventions AS i INNER JOIN distractors AS d USING (layer, head, feature, scaling, pair)"
            " INNER JOIN attention_sources AS a ON d.through_head = a.head AND i.seq_id = a.seq_id"
            " AND i.query_pos = a.query_pos AND i.key_pos = a.key_pos"
            " INNER JOIN output_activations AS o ON i.head = o.head AND i.feature = o.feature"
            " AND i.seq_id = o.seq_id AND i.query_pos = o.pos"
            " WHERE i.arm = 'none' AND i.experiment = 'insertion'"
        )
        assert [result for result in check(warehouse) if result.n_problems] == []
    assert len({head for head, *_ in rows}) > 1
    for _, attention, weight, activation, stored in rows:
        assert attention == pytest.approx(weight, rel=1e-4)
        assert activation == pytest.approx(stored, rel=1e-4, abs=1e-5)


def stored_by_head(warehouse: Warehouse) -> list[Any]:
    """What is stored of tests of absence and counting: room, head, feature, pair, passes, examples, run."""
    return warehouse.rows(
        "SELECT room, through_head, t.feature, t.pair, count(i.seq_id), n_examples, t.run_id FROM ("
        " SELECT 'absence' AS room, through_head, a.* FROM distractors INNER JOIN absence_tests AS a"
        " USING (layer, head, feature, scaling, pair) UNION ALL BY NAME"
        " SELECT 'counting' AS room, through_head, c.* FROM counting_rules INNER JOIN counting_tests AS c"
        " USING (layer, head, feature, scaling, pair)) AS t LEFT JOIN interventions AS i"
        " ON t.layer = i.layer AND t.head = i.head AND t.feature = i.feature AND t.pair = i.pair"
        " AND t.scaling = i.scaling AND (room = 'counting') = (i.experiment = 'counting') GROUP BY ALL ORDER BY ALL"
    )


def test_its_stated_rules_are_tested_on_the_model(planted: PlantedModel, home: Path) -> None:
    ingest(home / "w.duckdb", replace(spec_of(planted, home), n_sequences=40))
    with Warehouse.open(home / "w.duckdb", writable=True) as warehouse:
        [(feature, token)] = warehouse.rows(
            "SELECT a.feature, t.token_id FROM output_activations AS a INNER JOIN tokens AS t USING (seq_id, pos)"
            " WHERE a.head = -1 AND pos > 3 GROUP BY ALL ORDER BY count(DISTINCT seq_id) DESC, 1, 2 LIMIT 1"
        )
        store(warehouse, (LAYER, -1, feature), 1, f"[t{token}] at 0")
        laboratory = Laboratory.open(warehouse, LaboratorySpec(device="cpu"))
        [head] = intervene_on_stated(warehouse, StatedSpec(n_examples=8, n_controls=2), laboratory).heads
        rows = warehouse.rows(
            "SELECT s.activation, o.activation FROM stated_trials AS s INNER JOIN output_activations AS o"
            " ON s.head = o.head AND s.feature = o.feature AND s.seq_id = o.seq_id AND s.query_pos = o.pos"
            " WHERE s.arm = 'none' AND s.head = -1"
        )
        assert [result for result in check(warehouse) if result.n_problems] == []
    assert (head.layer, head.head, head.n_rules) == (LAYER, -1, 1)
    assert rows
    for activation, stored in rows:
        assert activation == pytest.approx(stored, rel=1e-4, abs=1e-5)


# --- how they are written ---------------------------------------------------------------------------


def stored_activations(path: Path) -> list[Any]:
    with Warehouse.open(path) as warehouse:
        return warehouse.rows("SELECT * FROM output_activations ORDER BY ALL")


@pytest.mark.parametrize(
    ("change", "hook_name"),
    [
        ({"hook_name": f"blocks.{LAYER}.attn.hook_out"}, ATTN_OUT),
        ({"hook_name": None, "hook_point": ATTN_OUT}, ATTN_OUT),
        ({"hook_name": None, "hook_point": Z, "hook_point_head_index": None}, Z),
    ],
    ids=["bridge", "before version 6", "before version 6, z"],
)
def test_other_spellings_of_a_hook_are_read(
    planted: PlantedModel, home: Path, change: dict[str, Any], hook_name: str
) -> None:
    write_sae(home / "plain" / "sae", hook_name)
    shutil.copytree(home / "plain", home / "old")
    path = home / "old" / "sae" / "cfg.json"
    config = json.loads(path.read_text())
    metadata = config.pop("metadata")
    config |= {"activation_fn_str": "relu", "hook_head_index": None, **change}
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not None}))
    assert metadata["hook_name"] == hook_name
    for name in ("plain", "old"):
        ingest(home / f"{name}.duckdb", spec_of(planted, home, name))
    assert stored_activations(home / "old.duckdb") == stored_activations(home / "plain.duckdb")


def test_a_checkpoint_of_concatenated_heads_is_read(planted: PlantedModel, home: Path) -> None:
    write_checkpoint(home / "kk", home / "out" / "sae")
    for name in ("out", "kk"):
        ingest(home / f"{name}.duckdb", spec_of(planted, home, name))
    assert stored_activations(home / "kk.duckdb") == stored_activations(home / "out.duckdb")


def write_checkpoint(folder: Path, sae: Path) -> None:
    """Write the weights of a SAELens folder as those of gpt2-small-hook-z-kk are published."""
    folder.mkdir()
    name = f"gpt2-small_L{LAYER}_Hcat_z_lr1.20e-03_l18.00e-01_ds{D_SAE}_bs4096_v5"
    torch.save(load_file(sae / "sae_weights.safetensors"), folder / f"{name}.pt")
    config = {
        "seed": 49, "lr": 0.0012, "l1_coeff": 0.8, "seq_len": 128, "enc_dtype": "fp32", "model_name": "gpt2-small",
        "site": "z", "layer": LAYER, "device": "cuda", "head": "cat", "concat_heads": True, "act_name": Z,
        "act_size": D_MODEL, "dict_size": D_SAE,
    }  # fmt: skip
    (folder / f"{name}_cfg.json").write_text(json.dumps(config))


# --- refused by name --------------------------------------------------------------------------------


def test_an_sae_behind_a_norm_is_refused(planted: PlantedModel, tmp_path: Path) -> None:
    write_model(tmp_path / "model", "gemma-2", planted)
    write_sae(tmp_path / "out" / "sae", ATTN_OUT)
    with pytest.raises(
        AttnRulesError, match=r"a norm or a scale lies between.*use an SAE on blocks.1.attn.hook_z"
    ):
        ingest(tmp_path / "w.duckdb", spec_of(planted, tmp_path))


def test_two_saes_of_one_layer_are_refused(planted: PlantedModel, home: Path) -> None:
    write_sae(home / "out" / "second", ATTN_OUT)
    with pytest.raises(AttnRulesError, match="holds several SAEs of L1; name a folder with one of each"):
        ingest(home / "w.duckdb", spec_of(planted, home))


def test_heads_of_a_whole_layer_are_refused(planted: PlantedModel, home: Path) -> None:
    with pytest.raises(UsageError, match="restricts the heads whose rules are sought"):
        ingest(home / "w.duckdb", replace(spec_of(planted, home), heads=(1,)))


def test_an_sae_of_another_width_is_refused(planted: PlantedModel, home: Path) -> None:
    write_sae(home / "wide" / "sae", Z, d_in=30)
    with pytest.raises(AttnRulesError, match=r"reads width 30, but .* of all 4 heads of model has width 24"):
        ingest(home / "w.duckdb", spec_of(planted, home, "wide"))


def test_what_its_features_say_is_read_off_all_heads_together(made: Made, planted: PlantedModel) -> None:
    model = load_model(str(made.path.parent / "model"), revision=None, device="cpu")
    written = made.output_sae.W_dec.detach()
    if written.shape[1] == N_HEADS * D_HEAD and made.W_O is None:
        written = written @ model.bridge.blocks[LAYER].attn.W_O.detach().reshape(-1, D_MODEL)
    if (post := getattr(model.bridge.blocks[LAYER], "ln1_post", None)) is not None:
        written = written * post(torch.ones(1, 1, D_MODEL))[0, 0].detach()
    if model.can_centre:
        written = written - written.mean(dim=1, keepdim=True)
    effects = written @ model.bridge.W_U.detach()[:, : len(planted.vocabulary)]
    effects = effects - effects.mean(dim=1, keepdim=True)
    rows = made.rows(
        "SELECT head, feature, rank, token_id, effect FROM output_tokens WHERE side = 'promoted'"
    )
    assert {row[0] for row in rows} == {-1}
    assert {row[1] for row in rows} == set(range(D_SAE))
    for _, feature, rank, token, effect in rows:
        best = effects[feature].sort(descending=True)
        assert effect == pytest.approx(float(best.values[rank - 1]), rel=1e-3, abs=1e-5)
        assert effect == pytest.approx(float(effects[feature, token]), rel=1e-3, abs=1e-5)


# --- Gemma Scope ------------------------------------------------------------------------------------


def write_scope(folder: Path, sae: Path, **others: Any) -> Path:
    """Write the weights of a SAELens folder as Gemma Scope publishes them."""
    folder.mkdir(parents=True)
    arrays = {name: tensor.numpy() for name, tensor in load_file(sae / "sae_weights.safetensors").items()}
    np.savez(folder / "params.npz", **{**arrays, **others})
    return folder


@pytest.fixture
def scope(planted: PlantedModel, tmp_path: Path) -> Path:
    """A tiny Gemma 2 with SAEs on the residual stream and on all heads, in SAELens folders and as Gemma Scope."""
    write_model(tmp_path / "model", "gemma-2", planted)
    options = {"architecture": "jumprelu", "apply_b_dec_to_input": False}
    write_sae(tmp_path / "in" / "sae", f"blocks.{LAYER}.hook_resid_pre", **options)
    write_sae(tmp_path / "out" / "sae", Z, **options)
    place = f"layer_{LAYER}/width_16/average_l0_8"
    write_scope(tmp_path / "gemma-scope-2b-pt-att" / place, tmp_path / "out" / "sae")
    # What leaves a layer enters the next.
    entered = place.replace(f"layer_{LAYER}", f"layer_{LAYER - 1}")
    write_scope(tmp_path / "gemma-scope-2b-pt-res" / entered, tmp_path / "in" / "sae")
    return tmp_path


def scope_spec(planted: PlantedModel, home: Path, inputs: str, outputs: str) -> IngestSpec:
    return replace(spec_of(planted, home, outputs), input_sae=str(home / inputs))


def test_a_folder_of_gemma_scope_is_read_as_the_same_weights_in_a_saelens_folder(
    planted: PlantedModel, scope: Path
) -> None:
    stored = []
    for inputs, outputs in (("in", "out"), ("gemma-scope-2b-pt-res", "gemma-scope-2b-pt-att")):
        path = scope / f"{outputs}.duckdb"
        done = ingest(path, scope_spec(planted, scope, inputs, outputs))
        with Warehouse.open(path) as warehouse:
            facts = warehouse.rows(
                "SELECT role, layer, head, hook_name, d_in, d_sae, architecture, sha256 FROM saes ORDER BY role"
            )
            inner = warehouse.rows("SELECT * FROM input_activations ORDER BY ALL")
        stored.append((facts, inner, stored_activations(path)))
    assert stored[0] == stored[1]
    assert all(stored[0])
    assert any("gemma-2-2b" in words for words in done.warnings)


@pytest.mark.parametrize(
    ("folder", "others", "said"),
    [
        ("att/layer_1", {}, "no folder above it says what it reads; keep the folders of its repository"),
        ("gemma-scope-2b-pt-att/width_16", {}, "no folder above it says what it reads"),
        ("gemma-scope-2b-pt-mlp/layer_1", {}, r"none found in it.*there read blocks.1.hook_mlp_out"),
        ("gemma-scope-2b-pt-res/embedding", {}, r"none found in it.*there read hook_embed"),
        ("gemma-scope-2b-pt-att/layer_1", {"scaling_factor": np.full(D_SAE, 2.0)}, "without a scaling factor"),
        ("gemma-scope-2b-pt-att/layer_1", {"b_gate": np.zeros(D_SAE)}, "holds W_dec, W_enc, b_dec, b_enc, b_gate"),
        ("gemma-scope-2b-pt-att/layer_1", {"b_enc": np.array([None])}, "cannot be loaded: .*allow_pickle"),
    ],
)  # fmt: skip
def test_a_folder_that_only_looks_like_gemma_scope_is_refused(
    planted: PlantedModel, scope: Path, folder: str, others: dict[str, Any], said: str
) -> None:
    write_scope(scope / "other" / folder, scope / "out" / "sae", **others)
    with pytest.raises(AttnRulesError, match=said):
        ingest(scope / "w.duckdb", scope_spec(planted, scope, "in", "other"))


def test_a_file_that_unpacks_to_much_more_than_it_is_is_not_unpacked(
    planted: PlantedModel, scope: Path
) -> None:
    folder = scope / "other" / "gemma-scope-2b-pt-att" / "layer_1"
    folder.mkdir(parents=True)
    np.savez_compressed(folder / "params.npz", W_enc=np.zeros((1 << 12, 1 << 8), np.float32))
    with pytest.raises(AttnRulesError, match="unpacks to 4,194"):
        ingest(scope / "w.duckdb", scope_spec(planted, scope, "in", "other"))
