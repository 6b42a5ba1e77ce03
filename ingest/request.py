"""What a user asked for: checked once, for the ingest and for `--dry-run` alike, before anything is loaded.

Options are refused here by themselves and by what the sources offer; `held` refuses what a warehouse does
not hold, `loading` what the loaded sources turn out to be.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.capture.forward import DTYPES
from attnrules.ingest.commits import StoredCommits, stored_commits
from attnrules.ingest.sources.corpus import SPECIAL_TOKENS, CorpusSpec, locate
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.sae_weights import Role
from attnrules.ingest.sources.saes import find_saes
from attnrules.warehouse import WHOLE_LAYER

# What an INTEGER holds.
_MOST_SEQUENCES = 2**31 - 1
# Of each side of each feature.
_MOST_OUTPUT_TOKENS = 10_000


@dataclass(frozen=True)
class IngestSpec:
    """What to ingest.

    Arguments:
        model: local Hugging Face folder or GGUF file, name TransformerLens knows, or hub id; `revision` of
            the hub.
        input_sae, output_sae: SAELens release, hub repository or local folder; the ids are templates
            over {layer} and {head} for releases.
        corpus: documents and how to cut them.
        layers, heads: which to capture; None for all that the SAE sources offer.
        n_sequences: rows to hold in the end.
        min_attention: a pair of positions is stored where either weight exceeds this.
        device: cpu, cuda, mps, auto, or several separated by commas, such as cuda:0,cuda:1: each gets a
            copy of the model and the SAEs.
        dtype: precision of the forward pass and the encoding: float32, tf32 (CUDA) or bfloat16.
        batch_size: sequences in a forward pass, None to find it by trying.
        chunk_size: sequences committed together, None for as many as memory holds a few times.
        replace_output_saes: whether an output SAE that differs from the stored one of its head takes its
            place, instead of being refused.
        n_output_tokens: tokens kept of each side that an output feature promotes or suppresses most; None for
            20 where none are stored, and for those that are.
        seed: seeds torch; recorded with the run.
    """

    model: str
    input_sae: str
    output_sae: str
    corpus: CorpusSpec
    revision: str | None = None
    input_sae_id: str | None = None
    output_sae_id: str | None = None
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None
    n_sequences: int = 50_000
    min_attention: float = 0.01
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int | None = None
    chunk_size: int | None = None
    replace_output_saes: bool = False
    n_output_tokens: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Request:
    """An `IngestSpec` that makes sense, and the commits that what it names stands for.

    Arguments:
        spec: what was asked for.
        corpus_commit: hub commit of the corpus, None for local files.
        commits: hub commits that the warehouse holds; none for a new one.
    """

    spec: IngestSpec
    corpus_commit: str | None = None
    commits: StoredCommits = field(default_factory=StoredCommits)

    @property
    def model_commit(self) -> str | None:
        """Hub commit that the model was ingested from, None where the warehouse holds none."""
        return self.commits.model.get(self.spec.revision)

    def sae(self, role: Role) -> tuple[str, str | None]:
        """Return the source of the SAEs of a role as it was written, and the template of their ids."""
        spec = self.spec
        if role == "input":
            return spec.input_sae, spec.input_sae_id
        return spec.output_sae, spec.output_sae_id

    def sae_commit(self, role: Role) -> str | None:
        """Return the hub commit that SAEs of this source were ingested from, None where there are none."""
        return self.commits.saes.get((role, self.sae(role)[0]))

    def sae_heads(self, role: Role) -> tuple[int, ...] | None:
        """Return the heads that SAEs of a role are wanted for; None for all, or for SAEs of no head."""
        return None if role == "input" else self.spec.heads

    def find_saes(self, role: Role) -> SaeSource:
        """Find the SAEs of a role; raises `AttnRulesError` where their source is none or offers none."""
        source, sae_id = self.sae(role)
        return find_saes(
            role,
            source,
            sae_id=sae_id,
            layers=self.spec.layers,
            heads=self.sae_heads(role),
            commit=self.sae_commit(role),
        )


class Dimensions(Protocol):
    """What of a model is asked about before it is loaded."""

    @property
    def name(self) -> str:
        """As messages name it."""

    @property
    def n_layers(self) -> int:
        """Number of layers."""

    @property
    def n_heads(self) -> int:
        """Number of heads of a layer."""


def accept(path: Path, spec: IngestSpec) -> Request:
    """Check what was asked to be ingested into the warehouse at `path`, and find the corpus.

    Raises `UsageError` naming an option that is out of its bounds, and `AttnRulesError` when there is no
    such corpus or the file at `path` is no warehouse.
    """
    _refuse_out_of_bounds(spec)
    _refuse_without_effect(spec)
    commits = stored_commits(path)
    return Request(spec, locate(spec.corpus, commits.corpus.get(spec.corpus.source)), commits)


def _refuse_out_of_bounds(spec: IngestSpec) -> None:
    if not 2 <= spec.corpus.seq_len <= 65_535:
        raise UsageError(f"--seq-len {spec.corpus.seq_len}: must lie between 2 and 65535")
    if not 1 <= spec.n_sequences <= _MOST_SEQUENCES:
        raise UsageError(f"--sequences {spec.n_sequences}: must lie between 1 and {_MOST_SEQUENCES}")
    if spec.n_output_tokens is not None and not 1 <= spec.n_output_tokens <= _MOST_OUTPUT_TOKENS:
        raise UsageError(
            f"--output-tokens {spec.n_output_tokens}: must lie between 1 and {_MOST_OUTPUT_TOKENS}"
        )
    if not 0 <= spec.min_attention < 1:
        raise UsageError(f"--min-attention {spec.min_attention}: must be at least 0 and below 1")
    if spec.corpus.special_tokens not in SPECIAL_TOKENS:
        raise UsageError(
            f"--special-tokens {spec.corpus.special_tokens}: must be one of {', '.join(SPECIAL_TOKENS)}"
        )
    if spec.dtype not in DTYPES:
        raise UsageError(f"--dtype {spec.dtype}: must be one of {', '.join(DTYPES)}")


def _refuse_without_effect(spec: IngestSpec) -> None:
    """Raise `UsageError` for an option that chooses among what a hub has, where a file or folder is named."""
    for option, value, source in (
        ("--revision", spec.revision, spec.model),
        ("--input-sae-id", spec.input_sae_id, spec.input_sae),
        ("--output-sae-id", spec.output_sae_id, spec.output_sae),
    ):
        if value is not None and Path(source).exists():
            raise UsageError(
                f"{option} {value}: {source} is a file or folder, of which it chooses nothing; leave it out"
            )


def refuse_beyond_context(spec: IngestSpec, model: str, n_ctx: int) -> None:
    """Raise `UsageError` when a row would be longer than the `n_ctx` tokens that the model reads."""
    if spec.corpus.seq_len > n_ctx:
        raise UsageError(f"--seq-len {spec.corpus.seq_len}: the context of {model} is {n_ctx} tokens")


def choose_outputs(
    spec: IngestSpec, model: Dimensions, inputs: SaeSource, outputs: SaeSource
) -> list[tuple[int, int]]:
    """Return where output SAEs are wanted, as (layer, head): those named, else all that both sources offer.

    The head is `WHOLE_LAYER` where an SAE reads the whole layer; of a source that has both kinds, all are
    wanted. Raises `UsageError` for a layer or head that the model does not have and for heads named of SAEs
    over whole layers alone, and `AttnRulesError` when a source holds SAEs of layers or heads that the model
    does not have, or when nothing is left.
    """
    _refuse_out_of_range(spec, model)
    for source in (inputs, outputs):
        _refuse_foreign_locations(source, model)
    layers = range(model.n_layers) if spec.layers is None else spec.layers
    chosen = [(layer, head) for layer in layers for head in _heads_of(spec, model, outputs)]
    # What was not asked for by number is limited to what the sources offer.
    if spec.layers is None and inputs.available is not None:
        chosen = [pair for pair in chosen if Location(pair[0]) in inputs.available]
    if spec.layers is None and outputs.available is not None:
        offered_layers = {at.layer for at in outputs.available}
        chosen = [pair for pair in chosen if pair[0] in offered_layers]
    if spec.heads is None and outputs.available is not None:
        chosen = [pair for pair in chosen if Location(*pair) in outputs.available]
    if not chosen:
        raise AttnRulesError(
            f"no head has both an input SAE in {spec.input_sae} and an output SAE in {spec.output_sae}"
        )
    return chosen


def _heads_of(spec: IngestSpec, model: Dimensions, outputs: SaeSource) -> list[int]:
    """Return the heads, `WHOLE_LAYER` among them, that output SAEs of a layer may read."""
    if outputs.available is None:
        whole, single = outputs.reads_whole_layers, not outputs.reads_whole_layers
    else:
        whole = any(at.is_whole_layer for at in outputs.available)
        single = any(not at.is_whole_layer for at in outputs.available)
    if spec.heads is None:
        return [*[WHOLE_LAYER][:whole], *(range(model.n_heads) if single else ())]
    if whole and not single:
        raise UsageError(
            f"--heads: the SAEs of {spec.output_sae} read all heads of a layer at once; `attnrules mine"
            " skipgrams --heads` restricts the heads whose rules are sought"
        )
    return list(spec.heads)


def _refuse_out_of_range(spec: IngestSpec, model: Dimensions) -> None:
    for option, values, limit in (
        ("--layers", spec.layers, model.n_layers),
        ("--heads", spec.heads, model.n_heads),
    ):
        for value in values or ():
            if value >= limit:
                raise UsageError(
                    f"{option} {value}: out of range, {model.name} has {option[2:]} 0 to {limit - 1}"
                )


def _refuse_foreign_locations(source: SaeSource, model: Dimensions) -> None:
    for at in source.available or () if not source.is_release else ():
        # An SAE on the stream leaving the last layer is no mistake, it just feeds no attention.
        past_last_layer = at.layer > model.n_layers - (source.role == "output")
        if past_last_layer or (at.head or 0) >= model.n_heads:
            raise AttnRulesError(
                f"{source.role} SAE {source.name}: has one of {at}, but {model.name} has"
                f" {model.n_layers} layers of {model.n_heads} heads"
            )
