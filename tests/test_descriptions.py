"""Descriptions of input features: from embeddings, from the corpus, imported; the best one is shown."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from attnrules.ingest import IngestSpec
from attnrules.ingest.embeddings import embedding_descriptions
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model, load_model
from attnrules.ingest.sources.saes import Sae, find_saes, load_sae
from attnrules.warehouse import Warehouse
from tests.planted import WORDS


@pytest.fixture(scope="module")
def loaded(planted_spec: IngestSpec) -> tuple[Model, Sae]:
    model = load_model(planted_spec.model, revision=None, device="cpu")
    source = find_saes("input", planted_spec.input_sae, sae_id=None, layers=None, heads=None)
    return model, load_sae(source, Location(0), model)


def descriptions(path: Path, kind: str, layer: int = 0) -> dict[int, str]:
    query = (
        "SELECT feature, description FROM feature_descriptions WHERE role = 'input' AND kind = $kind"
        " AND layer = $layer ORDER BY source"
    )
    with Warehouse.open(path) as warehouse:
        return dict(warehouse.rows(query, {"kind": kind, "layer": layer}))


def best(path: Path, layer: int = 0) -> dict[int, str]:
    query = "SELECT feature, description FROM input_features WHERE layer = $layer"
    with Warehouse.open(path) as warehouse:
        return dict(warehouse.rows(query, {"layer": layer}))


# --- embeddings ------------------------------------------------------------------------------------


def test_embedding_descriptions_name_the_largest_products(loaded: tuple[Model, Sae]) -> None:
    model, sae = loaded
    names = [f"'{token}'" for token in model.vocabulary()]
    found = dict(
        zip(
            *embedding_descriptions(model, sae).select(["feature", "description"]).to_pydict().values(),
            strict=True,
        )
    )
    for feature in range(sae.d_sae):
        scored = [
            (float(torch.dot(row, sae.weights.encoder[:, feature])), name)
            for name, row in zip(names, model.bridge.W_E, strict=True)
        ]
        scored += [
            (float(torch.dot(row, sae.weights.encoder[:, feature])), f"position {i}")
            for i, row in enumerate(model.bridge.pos_embed.W_pos)
        ]
        scores = {name: score for score, name in scored}
        ranked = sorted((score for score, _ in scored if score > 0), reverse=True)[:4]
        named = [part.rsplit(" ", 1) for part in found[feature].split(", ")] if feature in found else []
        assert [float(value) for _, value in named] == [float(f"{score:.1f}") for score in ranked]
        assert all(float(value) == float(f"{scores[name]:.1f}") for name, value in named)


def test_a_planted_word_is_what_its_feature_is_about(ingested_once: Path, planted: Any) -> None:
    found = descriptions(ingested_once, "embedding")
    for word in WORDS:
        assert found[planted.input_features[0, word]].startswith(f"'{word}' ")


def test_only_layer_0_is_described_by_embeddings(ingested_once: Path) -> None:
    assert descriptions(ingested_once, "embedding", layer=1) == {}
    assert descriptions(ingested_once, "tokens", layer=1)


def test_what_the_corpus_says_comes_before_what_the_embedding_says(ingested_once: Path) -> None:
    tokens, embedding = descriptions(ingested_once, "tokens"), descriptions(ingested_once, "embedding")
    assert tokens
    for feature, shown in best(ingested_once).items():
        assert shown == tokens.get(feature, embedding.get(feature))


# --- imported --------------------------------------------------------------------------------------


def record(index: int, text: str, layer: str = "1-res-jb", by: str = "gpt-3.5-turbo") -> dict[str, Any]:
    """A record as Neuronpedia's exports hold them."""
    return {
        "modelId": "gpt2-small",
        "layer": layer,
        "index": str(index),
        "description": text,
        "explanationModelName": by,
        "typeName": "oai_token-act-pair",
    }


RECORDS = [
    record(3, "cities in Canada"),
    record(5, "verbs of speech"),
    record(5, "speech", by="claude"),
    record(6, ""),
]


def as_jsonl(path: Path) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in RECORDS))


def as_json(path: Path) -> None:
    path.write_text(json.dumps(RECORDS, indent=1))


def as_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress("".join(json.dumps(r) + "\n" for r in RECORDS).encode()))


def as_features(path: Path) -> None:
    features = []
    for r in RECORDS:
        explanation = {key: r[key] for key in ("description", "explanationModelName", "typeName")}
        at = {key: r[key] for key in ("modelId", "layer", "index")}
        features.append({**at, "explanations": [explanation]})
    path.write_text("".join(json.dumps(f) + "\n" for f in features))


@pytest.mark.parametrize("write", [as_jsonl, as_json, as_gzip, as_features])
def test_an_export_is_imported_and_shown(attnrules: Any, ingested: Path, tmp_path: Path, write: Any) -> None:
    before = best(ingested, layer=1)
    write(tmp_path / "export")
    outcome = attnrules("import-descriptions", ingested, tmp_path / "export")
    assert outcome.code == 0, outcome.err
    assert "layer 1: 3 descriptions" in outcome.err
    assert "1 records hold no description" in outcome.err
    expected = {**before, 3: "cities in Canada", 5: "speech"}
    assert best(ingested, layer=1) == expected
    with Warehouse.open(ingested) as warehouse:
        sources = warehouse.rows(
            "SELECT source FROM feature_descriptions WHERE kind = 'imported' AND feature = 3"
        )
        status = warehouse.rows("SELECT status FROM runs WHERE command = 'import-descriptions'")
    assert sources == [("Neuronpedia gpt2-small/1-res-jb, gpt-3.5-turbo, oai_token-act-pair",)]
    assert status == [("done",)]


def test_importing_again_replaces_and_a_refresh_keeps(attnrules: Any, ingested: Path, tmp_path: Path) -> None:
    as_jsonl(tmp_path / "export.jsonl")
    for _ in range(2):
        assert attnrules("import-descriptions", ingested, tmp_path / "export.jsonl").code == 0
    shown = best(ingested, layer=1)
    with Warehouse.open(ingested, writable=True) as warehouse:
        assert warehouse.value("SELECT count(*) FROM feature_descriptions WHERE kind = 'imported'") == 3
        warehouse.refresh_derived()
    assert best(ingested, layer=1) == shown


def test_imported_words_reach_the_rules(attnrules: Any, mined: Path, planted: Any, tmp_path: Path) -> None:
    (layer, head, feature), pairs = next(iter(planted.skipgram_rules.items()))
    (tmp_path / "e.jsonl").write_text(json.dumps(record(pairs[0][0], "MY WORDS", layer=f"{layer}-res-jb")))
    assert attnrules("import-descriptions", mined, tmp_path / "e.jsonl").code == 0
    assert "[MY WORDS]" in attnrules("show", mined, f"L{layer}H{head}.{feature}", "--all-methods").out


@pytest.mark.parametrize(
    ("records", "options", "code", "names"),
    [
        ([record(3, "a", layer="7-res-jb")], [], 1, "holds input features of layers 0, 1"),
        ([record(999, "a")], [], 1, "feature 999 of layer 1, whose SAE has 59 features"),
        ([record(3, "a"), record(3, "b", layer="1-att-kk")], [], 1, "1-att-kk, 1-res-jb; name the one"),
        ([{"index": "3", "description": "a"}], [], 2, "give it with --layer"),
        ([{"description": "a"}], [], 1, "no feature number in `index`"),
        ([record(3, "a")], ["--layer", "0"], 1, "no description that was asked for"),
        (["not an object"], [], 1, "other than objects"),
    ],
)
def test_an_export_that_does_not_fit_is_refused(
    attnrules: Any,
    ingested: Path,
    tmp_path: Path,
    records: list[Any],
    options: list[str],
    code: int,
    names: str,
) -> None:
    before = best(ingested, 0) | best(ingested, 1)
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    outcome = attnrules("import-descriptions", ingested, tmp_path / "e.jsonl", *options)
    assert outcome.code == code
    assert (names in outcome.err, outcome.err.count("\n")) == (True, 1), outcome.err
    assert best(ingested, 0) | best(ingested, 1) == before


def test_a_description_may_hold_a_separator_of_lines(attnrules: Any, ingested: Path, tmp_path: Path) -> None:
    texts = ["cities\u2028in Canada", "verbs\x85of speech"]
    records = [record(feature, text) for feature, text in zip((3, 5), texts, strict=True)]
    (tmp_path / "e.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records))
    assert attnrules("import-descriptions", ingested, tmp_path / "e.jsonl").code == 0
    with Warehouse.open(ingested) as warehouse:
        rows = warehouse.rows(
            "SELECT description FROM feature_descriptions WHERE kind = 'imported' ORDER BY feature"
        )
    assert [text for (text,) in rows] == texts


def test_an_export_that_is_not_utf_8_is_refused(attnrules: Any, ingested: Path, tmp_path: Path) -> None:
    content = json.dumps(record(3, "caf\u00e9"), ensure_ascii=False).encode("latin-1")
    (tmp_path / "e.jsonl").write_bytes(content)
    outcome = attnrules("import-descriptions", ingested, tmp_path / "e.jsonl")
    assert outcome.code == 1
    assert "the text of feature 3 is not UTF-8" in outcome.err


@pytest.mark.parametrize(
    ("content", "names"), [(b"{broken", "neither json nor jsonl"), (b"\x1f\x8bbroken", "neither")]
)
def test_a_damaged_export_is_named(
    attnrules: Any, ingested: Path, tmp_path: Path, content: bytes, names: str
) -> None:
    (tmp_path / "e.jsonl").write_bytes(content)
    outcome = attnrules("import-descriptions", ingested, tmp_path / "e.jsonl")
    assert (outcome.code, names in outcome.err) == (1, True), outcome.err
    assert "no such file" in attnrules("import-descriptions", ingested, tmp_path / "none").err
