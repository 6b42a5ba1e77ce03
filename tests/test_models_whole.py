"""Models of unknown origin: whole and sound, or refused by name before anything is stored."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from attnrules.errors import AttnRulesError
from attnrules.ingest import ingest
from attnrules.ingest.sources.model import load_model
from attnrules.warehouse import Warehouse
from tests.planted import PlantedModel
from tests.test_saes import random_model, spec_of, write_pair

OPTIONS = {"architecture": "topk", "k": 4}


@pytest.fixture
def folder(planted: PlantedModel, tmp_path: Path) -> Path:
    return random_model(tmp_path / "model", planted)


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        state = load_file(folder / "model.safetensors")
        change(state)
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})

    return spoil


def config(**values: Any) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return spoil


def written(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def dangling(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors").symlink_to(folder / "nowhere")


QKV = "transformer.h.1.attn.c_attn.weight"
SPOILT: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (weights(lambda s: s.pop(QKV)), f"lacks {QKV}"),
    "unexpected": (weights(lambda s: s.update(more=torch.zeros(2))), "no place for it, more"),
    "mis-shaped": (weights(lambda s: s.update({QKV: torch.zeros(24, 60)})), f"{QKV} 24 x 60 for 24 x 72"),
    "infinite": (weights(lambda s: s[QKV][0, 0].fill_(torch.inf)), f"{QKV} holds values that are not"),
    "no number": (weights(lambda s: s["transformer.wte.weight"][3, 0].fill_(torch.nan)), "wte.weight holds"),
    "one layer more": (config(n_layer=3), "lacks transformer.h.2"),
    "a million layers": (config(n_layer=10**6), "num_hidden_layers 1000000"),
    "a billion tokens": (config(vocab_size=10**9), "vocab_size 1000000000"),
    "a large vocabulary": (config(vocab_size=8_000_000), "declares 192,"),
    "width a list": (config(n_embd=[24]), "config.json"),
    "width a word": (config(n_embd="wide"), "config.json"),
    "no width": (config(n_embd=0), "hidden_size 0"),
    "heads that do not divide": (config(n_head=5), "cannot be"),
    "unknown activation": (config(activation_function="magic"), "cannot be"),
    "unknown type": (config(model_type="nothing"), "config.json cannot be used"),
    "no type": (written("config.json", "{}"), "config.json cannot be used"),
    "a list": (written("config.json", "[]"), "not a JSON object"),
    "empty": (written("config.json", ""), "config.json cannot be read"),
    "nested": (written("config.json", "[" * 200_000), "config.json cannot be read"),
    "deep": (written("config.json", '{"a":' * 150 + "1" + "}" * 150), "nests more than"),
    "tokenizer nested": (written("tokenizer.json", "[" * 200_000), "tokenizer.json cannot be read"),
    "tokenizer empty": (written("tokenizer.json", "{}"), "model"),
    "dangling": (dangling, "model.safetensors is not a file"),
    "no weights": (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
    "empty weights": (written("model.safetensors", ""), "weights files hold 0 bytes"),
    "no safetensors": (written("model.safetensors", "x" * 200_000), "cannot be loaded"),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILT.values(), ids=SPOILT)
def test_a_spoilt_model_is_refused_by_name(folder: Path, spoil: Callable[[Path], None], says: str) -> None:
    spoil(folder)
    with pytest.raises(AttnRulesError) as refused:
        load_model(str(folder), revision=None, device="cpu")
    assert says in str(refused.value)
    assert "model" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_masks_of_older_checkpoints_are_no_tensors_of_the_model(folder: Path) -> None:
    whole = load_model(str(folder), revision=None, device="cpu")
    weights(lambda s: s.update({"transformer.h.0.attn.masked_bias": torch.tensor(-1e4)}))(folder)
    assert load_model(str(folder), revision=None, device="cpu").sha256 == whole.sha256


@pytest.fixture(scope="module")
def sources(planted: PlantedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and its SAEs, to be changed and put back."""
    home = tmp_path_factory.mktemp("fuzz")
    random_model(home / "model", planted)
    write_pair(home, dict(OPTIONS), dict(OPTIONS))
    return home


def test_a_token_that_the_model_does_not_embed_is_named_and_leaves_no_file(
    planted: PlantedModel, sources: Path, tmp_path: Path
) -> None:
    small = tmp_path / "model"
    small.mkdir()
    for path in (sources / "model").iterdir():
        (small / path.name).write_bytes(path.read_bytes())
    content = json.loads((small / "tokenizer.json").read_text())
    content["model"]["vocab"]["the"] = 4_000
    (small / "tokenizer.json").write_text(json.dumps(content))
    with pytest.raises(AttnRulesError, match="id 4000"):
        ingest(tmp_path / "w.duckdb", spec_of(planted, small, sources / "in", sources / "out"))
    assert not list(tmp_path.glob("w.duckdb*"))


def test_saes_that_rebuild_nothing_are_told_of(
    attnrules: Any, planted: PlantedModel, sources: Path, tmp_path: Path
) -> None:
    result = ingest(
        tmp_path / "w.duckdb", spec_of(planted, sources / "model", sources / "in", sources / "out")
    )
    told = [warning for warning in result.warnings if "next to nothing" in warning]
    with Warehouse.open(tmp_path / "w.duckdb") as warehouse:
        errors = dict(warehouse.rows("SELECT role, sampled_reconstruction_error FROM saes"))
    assert min(errors.values()) > 0.9
    assert [warning.split()[1] for warning in told] == ["input", "output"]
    assert "rebuild next to nothing" in " ".join(attnrules("describe", tmp_path / "w.duckdb").out.split())


# --- fuzz ------------------------------------------------------------------------------------------

FILES = ("model/config.json", "model/tokenizer.json", "in/sae/cfg.json", "out/sae/cfg.json")
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 10**12),
    st.floats(),
    st.text(max_size=6),
    st.sampled_from(["relu", "topk", "layer_norm", "gpt2", "llama", "BPE", "hook_z", "float16"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value inside a JSON value; of long lists and objects, the first few."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in list(items)[:40]:
        yield (*at, key)
        yield from places(inner, (*at, key))


@st.composite
def mutations(draw: st.DrawFn) -> tuple[str, int, Any, bool]:
    return draw(st.sampled_from(FILES)), draw(st.integers(0, 10**6)), draw(VALUES), draw(st.booleans())


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)
@given(mutation=mutations())
def test_mutated_configurations_are_refused_in_words_or_ingested(
    attnrules: Any, planted: PlantedModel, sources: Path, mutation: tuple[str, int, Any, bool]
) -> None:
    name, pick, value, delete = mutation
    path = sources / name
    original = path.read_text()
    content = json.loads(original)
    paths = list(places(content))
    *parents, last = paths[pick % len(paths)]
    holder = content
    for key in parents:
        holder = holder[key]
    if delete:
        del holder[last]
    else:
        holder[last] = value
    warehouse = sources / "w.duckdb"
    try:
        path.write_text(json.dumps(content))
        options = {"--model": "model", "--input-sae": "in", "--output-sae": "out"}
        arguments = [word for option, at in options.items() for word in (option, sources / at)]
        arguments += ["--corpus", planted.corpus_path, "--seq-len", 10, "--sequences", 2, "--device", "cpu"]
        outcome = attnrules("ingest", warehouse, *arguments)
        assert "unexpected" not in outcome.err
        assert "Traceback" not in outcome.err
        assert outcome.code in (0, 1, 2)
        assert warehouse.exists() == (outcome.code == 0)
    finally:
        path.write_text(original)
        warehouse.unlink(missing_ok=True)
