"""The model as a laboratory: run it on changed sequences and read one head at one position.

Knows nothing of rules: what is changed, and what the readings mean, is for the caller to say.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.capture.batching import is_out_of_memory
from attnrules.ingest.capture.forward import Capture, LayerReading, Targets, read_end, read_layer
from attnrules.ingest.commits import commits_of
from attnrules.ingest.devices import choose_device
from attnrules.ingest.embeddings import position_rows, token_rows
from attnrules.ingest.held import recorded_id
from attnrules.ingest.sources.corpus import token_ids
from attnrules.ingest.sources.identity import differences
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import (
    UNCENTRED,
    Model,
    load_model,
    load_tokenizer,
    tokenizer_configuration,
)
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import Sae, find_saes, load_sae
from attnrules.ingest.sources.vocabulary import special_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from attnrules.warehouse import Warehouse

Array = npt.NDArray[Any]

# Sequences in a forward pass, by type of device: it is read at one position and stops at one layer.
_BATCH = {"cpu": 256, "cuda": 2048, "mps": 512}

# Entries of a trial that are a row of positions.
_BY_POSITION = ("tokens", "keys", "changed")

_READINGS = ("activation", "attention_to_key", "attention_to_changed", "probe_activation")

# Largest dense block of input features held at once, in floats (256 MB).
_ENCODE_FLOATS = 1 << 26


@dataclass(frozen=True)
class LaboratorySpec:
    """Where the model and SAEs of a warehouse are; None for where the last ingest took them from.

    Arguments:
        model, revision, input_sae, input_sae_id, output_sae, output_sae_id: as in `IngestSpec`.
        device: cpu, cuda, mps or auto. batch_size: sequences in a forward pass, None for automatic.
    """

    model: str | None = None
    revision: str | None = None
    input_sae: str | None = None
    input_sae_id: str | None = None
    output_sae: str | None = None
    output_sae_id: str | None = None
    device: str = "auto"
    batch_size: int | None = None


@dataclass(frozen=True)
class _Held:
    """What a warehouse says of one of its SAEs: its row of `saes`, and the template of its ids."""

    source: str
    sha256: str
    configuration: str | None
    commit: str | None
    sae_id: str | None


class Laboratory:
    """The model and the SAEs that a warehouse was made with.

    Arguments:
        model: the model. SAEs are found in `sources` and loaded when a head is first read.
        held: what the warehouse says of its SAEs, by role and location.
    """

    def __init__(
        self,
        model: Model,
        sources: dict[Role, SaeSource],
        held: dict[tuple[str, Location], _Held],
        batch_size: int | None,
    ) -> None:
        self._model = model
        self._sources = sources
        self._held = held
        self._batch_size = batch_size or _BATCH.get(model.device.type, 256)
        self._saes: dict[tuple[str, Location], Sae] = {}

    @classmethod
    def open(cls, warehouse: Warehouse, spec: LaboratorySpec) -> Laboratory:
        """Load the model of `warehouse`.

        Raises `AttnRulesError` when it cannot be found or loaded, or is not the one that was ingested.
        """
        sources = _sources(warehouse, spec)
        commits = commits_of(warehouse)
        model = load_model(
            sources["model"],
            revision=sources["revision"],
            # A model named anew is the one that the user names, at its own revision.
            commit=commits.model.get(sources["revision"]) if spec.model is None else None,
            device=choose_device(spec.device),
            centred=warehouse.value("SELECT any_value(processing) FROM model") != UNCENTRED,
        )
        _refuse_other_model(warehouse, model)
        found: dict[Role, SaeSource] = {}
        roles: tuple[Role, Role] = ("input", "output")
        for role in roles:
            found[role] = find_saes(
                role,
                sources[f"{role}_sae"],
                sae_id=sources[f"{role}_sae_id"],
                layers=None,
                heads=None,
                commit=commits.saes.get((role, sources[f"{role}_sae"])),
            )
        return cls(model, found, _held(warehouse), spec.batch_size)

    @property
    def bos_token_id(self) -> int:
        """The token put in front of every sequence."""
        return self._model.bos_token_id

    @property
    def n_ctx(self) -> int:
        """Most tokens in a sequence."""
        return self._model.n_ctx

    def ordinary_tokens(self) -> Array:
        """Return the ids of tokens that the tokenizer knows and that are not special: [n]."""
        tokenizer = self._model.bridge.tokenizer
        special = {self._model.bos_token_id, *tokenizer.all_special_ids, *special_tokens(tokenizer)}
        known = sorted(token for token in tokenizer.get_vocab().values() if token < self._model.vocab_size)
        return np.array([token for token in known if token not in special], np.int64)

    @property
    def tokenizer(self) -> Any:
        """The tokenizer of the model."""
        return self._model.bridge.tokenizer

    def facts(
        self,
        tokens: Array,
        outputs: Sequence[tuple[int, int]],
        attention: Sequence[tuple[int, int]] = (),
    ) -> dict[str, dict[str, Array]]:
        """Run the model on one sequence and return what an ingest would store of its features.

        Arguments:
            tokens: [n_pos], BOS first. outputs: layer and head of each output SAE, `WHOLE_LAYER` for one
                over the whole layer. attention: layer and head whose attention is returned, all of it.

        Returns the columns of the tables `input_activations`, of the layers of `outputs`, and
        `output_activations`, and with `attention` those of `attention_sources` and `token_scales`; the
        sequence is number 0. Raises `AttnRulesError` for an SAE that is not the one that was ingested.
        """
        layers = sorted({layer for layer, _ in outputs})
        saes = [
            *(self._sae("input", Location(layer)) for layer in layers),
            *(self._sae("output", Location(layer, head)) for layer, head in outputs),
        ]
        capture = Capture(self._model, saes, min_attention=0.0 if attention else 1.0)
        targets = Targets(tuple(layers), tuple(sorted(attention)), tuple(sorted(outputs)))
        blocks = capture.run(tokens[None], 0, targets)
        wanted = ["input_activations", "output_activations"]
        wanted += ["attention_sources", "token_scales"] if attention else []
        found: dict[str, list[dict[str, Array]]] = {table: [] for table in wanted}
        for part in (block.part() for block in blocks):
            if part.table in found:
                found[part.table].append(part.columns)
        return {
            table: {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
            for table, parts in found.items()
        }

    def attention(self, layer: int, tokens: Array, query_pos: Array, key_pos: Array) -> Array:
        """Return what each head of a layer attends to, mean over queries: [n_kinds, n_rows, n_heads].

        `tokens` [n_rows, n_pos] are sequences; `key_pos` [n_kinds, n_queries] has for every kind of key the
        one of each query position `query_pos` [n_queries].
        """
        import torch

        rows = torch.as_tensor(tokens, device=self._model.device)
        parts = []
        for batch in torch.split(rows, self._batch_size):
            pattern = read_layer(self._model, layer, batch).pattern.float().cpu().numpy()
            parts.append(pattern[:, :, query_pos, key_pos].mean(axis=-1).transpose(2, 0, 1))
        return np.concatenate(parts, axis=1)

    def exciting_tokens(self, layer: int, features: Array, n: int = 1) -> list[tuple[int, ...]]:
        """Return the tokens whose embeddings excite each input feature most; of the first layer only.

        Up to n of them, the first ones first, each at least half as exciting as the first. None where the
        embedding of a position excites the feature more. BOS is left out.
        """
        import torch

        if layer != 0:
            raise ValueError("embeddings are what enters layer 0")
        encoder = self._sae("input", Location(0)).weights.encoder[:, features]
        tokens = token_rows(self._model).cpu() @ encoder
        tokens[self._model.bos_token_id] = -torch.inf
        best, chosen = (found.cpu().numpy().T for found in tokens.topk(min(n, len(tokens)), dim=0))
        usable = best >= np.minimum(best[:, :1] / 2, best[:, :1])
        positions = position_rows(self._model)
        if positions is not None:
            usable &= best[:, :1] >= (positions.cpu() @ encoder).max(dim=0).values.cpu().numpy()[:, None]
        return [tuple(row[kept].tolist()) for row, kept in zip(chosen, usable, strict=True)]

    def measure(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on every trial and read the head at its query position.

        `head` is `WHOLE_LAYER` for the SAE over the whole layer; then `trials` has `through_head` [n], the
        heads whose attention is read. A trial is an entry of the arrays `tokens` [n, seq_len], `query_pos`
        [n], `feature` [n] (of the output SAE), `keys` and `changed` [n, seq_len] (which positions are keys,
        which were changed), and `probe` [n] (an input feature). Returns arrays [n]: `activation` of the
        feature, `attention_to_key` and `attention_to_changed` (summed over these positions), and
        `probe_activation`, the probe's mean activation over the changed positions; NaN where there are no
        such positions.
        """
        return self._in_batches(trials, partial(self._read, layer, head))

    def activations(
        self, layer: int, head: int, trials: Mapping[str, Array]
    ) -> tuple[Array, dict[str, Array]]:
        """Run the model on every trial; read an output feature at its query position, and input features.

        A trial is an entry of the arrays `tokens` [n, seq_len], `query_pos` and `feature` [n], `inputs`
        [n, m], input features, -1 for none, and `nearest` and `farthest` [n], how far back from the query
        position these are looked for; never at BOS. Returns the activation of the output feature [n], and
        where input features are active, the columns `trial`, `pos`, `feature` and `activation`.
        """
        found: list[dict[str, Array]] = []
        numbered = {**trials, "trial": np.arange(len(trials["tokens"]))}
        read = self._in_batches(numbered, partial(self._read_features, layer, head, found))
        return read["activation"], {name: np.concatenate([part[name] for part in found]) for name in found[0]}

    def log_probabilities(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model on every trial as it is, without a feature's contribution, and without a control's.

        A contribution is activation times decoder row, subtracted where the output SAE reads, at the query
        position alone; the rest of the model runs on (method.md section 12.3). A trial is an entry of the
        arrays `tokens` [n, seq_len], `query_pos`, `feature`, `activation`, `control` (a feature, -1 for none)
        and `control_activation` [n], and `watched` [n, m], token ids, -1 for none. Returns log-probabilities
        in nats of the watched tokens to come next, `as_is`, `removed` and `controlled` [n, m], NaN where
        there is no token or no control; and `final_scale` [n], the scale of the final norm as it is.
        """
        return self._in_batches(trials, partial(self._read_next, layer, head), n_passes=3)

    def _in_batches(
        self,
        trials: Mapping[str, Array],
        read: Callable[[Mapping[str, Array]], dict[str, Array]],
        n_passes: int = 1,
    ) -> dict[str, Array]:
        """Return what `read` gives of trials [n, ...], read in batches of `n_passes` sequences a trial."""
        n = len(trials["tokens"])
        readings: dict[str, Array] = {}
        # Later tokens change nothing: trials of about the same query position are cut off behind it.
        order = np.argsort(trials["query_pos"], kind="stable")
        start = 0
        while start < n:
            rows = order[start : start + max(1, self._batch_size // n_passes)]
            stop = int(trials["query_pos"][rows].max()) + 1
            batch = {
                name: column[rows, :stop] if name in _BY_POSITION else column[rows]
                for name, column in trials.items()
            }
            try:
                columns = read(batch)
            except RuntimeError as error:
                if not is_out_of_memory(error):
                    raise
                if len(rows) == 1:
                    raise AttnRulesError(
                        "the device has too little memory for one sequence; use --device cpu"
                    ) from error
                self._batch_size = n_passes * (len(rows) // 2)
                continue
            for name, column in columns.items():
                readings.setdefault(name, np.full((n, *column.shape[1:]), np.nan))[rows] = column
            start += len(rows)
        return readings

    def _read(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        device = self._model.device
        rows = torch.arange(len(trials["tokens"]), device=device)
        q = torch.as_tensor(trials["query_pos"], device=device)
        through = torch.as_tensor(trials.get("through_head", np.full(len(rows), head)), device=device)
        reading = read_layer(self._model, layer, torch.as_tensor(trials["tokens"], device=device))
        activation = self._output(layer, head, reading, trials)
        attention = reading.pattern[rows, through, q].float().cpu().numpy()
        to = [
            np.where(trials[where].any(axis=1), (attention * trials[where]).sum(axis=1), np.nan)
            for where in ("keys", "changed")
        ]
        probed = self._probe(layer, reading.residual, trials["changed"], trials["probe"])
        return dict(zip(_READINGS, (activation, *to, probed), strict=True))

    def _read_features(
        self, layer: int, head: int, found: list[dict[str, Array]], trials: Mapping[str, Array]
    ) -> dict[str, Array]:
        import torch

        tokens = torch.as_tensor(trials["tokens"], device=self._model.device)
        reading = read_layer(self._model, layer, tokens)
        activation = self._output(layer, head, reading, trials)
        back = trials["query_pos"][:, None] - np.arange(tokens.shape[1])
        near, far = trials["nearest"][:, None], trials["farthest"][:, None]
        looked_at = (back >= near) & (back <= far) & (trials["inputs"] >= 0).any(axis=1, keepdims=True)
        looked_at[:, 0] = False
        row, pos = np.nonzero(looked_at)
        features = trials["inputs"][row]
        read = self._inputs(layer, reading.residual, row, pos, features.clip(min=0))
        at, column = np.nonzero((read > 0) & (features >= 0))
        columns = trials["trial"][row[at]], pos[at], features[at, column], read[at, column]
        found.append(dict(zip(("trial", "pos", "feature", "activation"), columns, strict=True)))
        return {"activation": activation}

    def _output(self, layer: int, head: int, reading: LayerReading, trials: Mapping[str, Array]) -> Array:
        """Return each row's activation of its output feature at its query position."""
        import torch

        device = self._model.device
        rows = torch.arange(len(trials["tokens"]), device=device)
        q, feature = (torch.as_tensor(trials[name], device=device) for name in ("query_pos", "feature"))
        sae = self._sae("output", Location(layer, head))
        with torch.no_grad():
            activation = sae.encode(reading.x(head)[rows, q].float())[rows, feature]
        return np.asarray(activation.float().cpu().numpy())

    def _read_next(self, layer: int, head: int, trials: Mapping[str, Array]) -> dict[str, Array]:
        import torch

        sae = self._sae("output", Location(layer, head))
        arms = [np.zeros(len(trials["tokens"]), np.int64), trials["feature"], trials["control"].clip(min=0)]
        sizes = [np.zeros(len(arms[0])), trials["activation"], trials["control_activation"]]
        amounts = torch.as_tensor(np.concatenate(sizes), dtype=torch.float32)[:, None]
        contributions = amounts * sae.weights.decoder[torch.as_tensor(np.concatenate(arms))]
        tokens, q = (
            torch.as_tensor(np.concatenate([trials[name]] * 3), device=self._model.device)
            for name in ("tokens", "query_pos")
        )
        end = read_end(self._model, tokens, q, [_subtracting(self._model, sae, q, contributions)])
        watched = torch.as_tensor(np.concatenate([trials["watched"]] * 3), device=tokens.device)
        chances = end.logits.log_softmax(dim=1).gather(1, watched.clamp(min=0))
        found = chances.masked_fill(watched < 0, torch.nan).cpu().numpy()
        as_is, removed, controlled = np.split(found, 3)
        controlled[trials["control"] < 0] = np.nan
        scale = end.scale[: len(as_is)].cpu().numpy()
        return {"as_is": as_is, "removed": removed, "controlled": controlled, "final_scale": scale}

    def _probe(self, layer: int, residual: Tensor, where: Array, probe: Array) -> Array:
        """Return each row's mean activation of its input feature over the marked positions."""
        row, pos = np.nonzero(where)
        total = np.zeros(len(where))
        np.add.at(total, row, self._inputs(layer, residual, row, pos, probe[row, None])[:, 0])
        with np.errstate(invalid="ignore"):
            return np.asarray(total / where.sum(axis=1))

    def _inputs(self, layer: int, residual: Tensor, row: Array, pos: Array, features: Array) -> Array:
        """Return the activations of input features [n, m], those of an entry at its row and position."""
        import torch

        sae = self._sae("input", Location(layer))
        found = np.zeros(features.shape)
        step = max(1, _ENCODE_FLOATS // sae.d_sae)
        for start in range(0, len(row), step):
            at = slice(start, start + step)
            with torch.no_grad():
                activations = sae.encode(residual[row[at], pos[at]].float())
            places = torch.as_tensor(features[at], device=activations.device)
            found[at] = activations.gather(1, places).float().cpu().numpy()
        return found

    def _sae(self, role: Role, location: Location) -> Sae:
        key = (role, location)
        if key not in self._saes:
            held = self._held.get(key, _Held("", "", None, None, None))
            sae = load_sae(self._source_of(role, location, held), location, self._model)
            if held.sha256 != sae.sha256:
                raise AttnRulesError(
                    f"{role} SAE of {location} in {sae.source}: has weights {sae.sha256[:12]}, the"
                    f" warehouse was ingested with {held.sha256[:12]}; name that one with --{role}-sae"
                )
            if apart := differences(held.configuration, sae.configuration):
                raise AttnRulesError(
                    f"{role} SAE of {location} in {sae.source}: has the weights that the warehouse was"
                    f" ingested with, but {'; '.join(apart[:4])}; name that one with --{role}-sae"
                )
            self._saes[key] = sae
        return self._saes[key]

    def _source_of(self, role: Role, location: Location, held: _Held) -> SaeSource:
        """Return where an SAE is: SAEs of single heads and of whole layers may come from several ingests."""
        given = self._sources[role]
        if given.offers(location) or held.source in ("", given.name):
            return given
        return find_saes(
            role, held.source, sae_id=held.sae_id, layers=(location.layer,), heads=None, commit=held.commit
        )


def open_tokenizer(warehouse: Warehouse, spec: LaboratorySpec) -> Any:
    """Return the tokenizer of the model of `warehouse`, without loading its weights.

    Raises `AttnRulesError` when it cannot be found, or is not the one that was ingested.
    """
    sources = _sources(warehouse, spec, ("model",))
    commit = commits_of(warehouse).model.get(sources["revision"]) if spec.model is None else None
    tokenizer = load_tokenizer(sources["model"], revision=sources["revision"], commit=commit)
    # What fills up sequences, which the model's loader sets, says nothing of the ids of a text.
    apart = [
        difference
        for difference in differences(
            warehouse.value("SELECT tokenizer FROM model"), tokenizer_configuration(tokenizer)
        )
        if not difference.startswith("pad token")
    ]
    if apart:
        raise AttnRulesError(
            f"--model {sources['model']}: its tokenizer says {'; '.join(apart[:4])}; name the model that was"
            " ingested"
        )
    return tokenizer


def ids_of_text(warehouse: Warehouse, tokenizer: Any, text: str) -> list[int]:
    """Return the ids of a text, without BOS, special tokens in it read as the last ingest read them.

    Raises `UsageError` for a text without a token, or with more than the context of the model holds.
    """
    corpus = json.loads(_last_ingest(warehouse) or "{}").get("corpus") or {}
    (ids,) = token_ids([text], tokenizer, corpus.get("special_tokens", "token"))
    n_ctx = int(warehouse.value("SELECT any_value(n_ctx) FROM model"))
    if not ids:
        raise UsageError("the text is empty: there is no token to explain")
    if len(ids) + 1 > n_ctx:
        raise UsageError(
            f"the text has {len(ids):,} tokens; with BOS the context of the model holds {n_ctx:,}: shorten it"
        )
    return ids


def _held(warehouse: Warehouse) -> dict[tuple[str, Location], _Held]:
    rows = warehouse.rows(
        "SELECT role, layer, head, source, sha256, configuration, resolved_commit FROM saes"
    )
    return {
        (role, Location(layer, head)): _Held(
            source, sha256, configuration, commit, recorded_id(warehouse, role, source)
        )
        for role, layer, head, source, sha256, configuration, commit in rows
    }


def _subtracting(model: Model, sae: Sae, positions: Tensor, contributions: Tensor) -> tuple[str, Any]:
    """Return the hook that subtracts `contributions` [batch, d_in] at `positions` [batch] where an SAE reads.

    Of a head's output that is its part of z: what follows, W_O and any norm behind it, is the model's own,
    so that it holds for layers whose attention and MLP run in parallel too.
    """
    import torch

    first = model.d_head * max(0, sae.location.head or 0)
    rows = torch.arange(len(positions), device=positions.device)

    def subtract(read: Tensor, hook: Any) -> Tensor:  # noqa: ARG001
        changed = read.clone().flatten(2)
        part = changed[rows, positions, first : first + contributions.shape[1]]
        changed[rows, positions, first : first + contributions.shape[1]] = part - contributions.to(part)
        return changed.reshape(read.shape)

    return sae.hook_name, subtract


def _last_ingest(warehouse: Warehouse) -> str | None:
    last: str | None = warehouse.value(
        "SELECT arguments FROM runs WHERE command = 'ingest' AND status = 'done' ORDER BY run_id DESC LIMIT 1"
    )
    return last


def _sources(
    warehouse: Warehouse,
    spec: LaboratorySpec,
    needed: Sequence[str] = ("model", "input_sae", "output_sae"),
) -> dict[str, Any]:
    """Return where the model and SAEs are: as the spec says, else as the last ingest said."""
    last = _last_ingest(warehouse)
    ingested = json.loads(last) if last else {}
    sources = {}
    for name in ("model", "revision", "input_sae", "input_sae_id", "output_sae", "output_sae_id"):
        given = getattr(spec, name)
        sources[name] = ingested.get(name) if given is None else given
    for name in needed:
        if sources[name] is None:
            raise AttnRulesError(
                f"{warehouse.path}: does not say where its {name.replace('_', ' ')} came from; name it with"
                f" --{name.replace('_', '-')}"
            )
    # Settings of one source mean nothing for another.
    for name, belongs in (
        ("model", "revision"),
        ("input_sae", "input_sae_id"),
        ("output_sae", "output_sae_id"),
    ):
        if getattr(spec, name) is not None:
            sources[belongs] = getattr(spec, belongs)
    return sources


def _refuse_other_model(warehouse: Warehouse, model: Model) -> None:
    """Raise `AttnRulesError` naming the first difference when `model` is not the warehouse's."""
    facts = model.facts()
    relation = warehouse.sql("FROM model")
    held = dict(zip(relation.columns, relation.fetchall()[0], strict=True))
    for fact in ("architecture", "n_layers", "n_heads", "d_model", "d_head", "vocab_size", "sha256"):
        if held[fact] != facts[fact]:
            shown = "weights" if fact == "sha256" else fact.replace("_", " ")
            raise AttnRulesError(
                f"--model {model.name}: has {shown} {_short(facts[fact])}, but {warehouse.path} was ingested"
                f" from {held['name']} with {_short(held[fact])}; intervene with the model that was ingested"
            )
    for fact in ("configuration", "tokenizer"):
        if apart := differences(held[fact], getattr(model, fact)):
            raise AttnRulesError(
                f"--model {model.name}: has the weights that {warehouse.path} was ingested with, but its"
                f" {fact} says {'; '.join(apart[:4])}; intervene with the model that was ingested"
            )


def _short(value: object) -> str:
    return str(value)[:12] if len(str(value)) == 64 else str(value)
