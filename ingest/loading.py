"""The sources of a request, loaded and checked against each other and against what the warehouse holds.

For the ingest and for `--dry-run` alike: what is loaded here can be captured from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice

from attnrules.errors import AttnRulesError
from attnrules.ingest import held
from attnrules.ingest.capture.flow import Ledger, Tokens
from attnrules.ingest.capture.forward import Capture, Targets
from attnrules.ingest.devices import choose_devices
from attnrules.ingest.request import Request, choose_outputs, refuse_beyond_context
from attnrules.ingest.sources.corpus import documents, token_rows
from attnrules.ingest.sources.local_corpus import FilesRead
from attnrules.ingest.sources.locations import Location
from attnrules.ingest.sources.model import Model, load_model
from attnrules.ingest.sources.sae_source import SaeSource
from attnrules.ingest.sources.saes import Sae, find_saes, load_sae
from attnrules.warehouse import Warehouse


@dataclass(frozen=True)
class Sources:
    """Where the SAEs of both roles are."""

    inputs: SaeSource
    outputs: SaeSource


@dataclass(frozen=True)
class Loaded:
    """The model and SAEs of a request, on the first of its devices.

    Arguments:
        request: what was asked for.
        model: the model, processed as its input SAEs expect.
        sources: where the SAEs came from.
        outputs: the (layer, head) pairs of the output SAEs asked for, ascending.
        targets: what these need, and the stored ones without which sequences would be incomplete.
        saes: the SAEs of all targets: input SAEs by layer, then output SAEs by layer and head.
        replaced: heads whose stored output SAE gives way to the one loaded.
        devices: every device asked for.
    """

    request: Request
    model: Model
    sources: Sources
    outputs: tuple[tuple[int, int], ...]
    targets: Targets
    saes: list[Sae]
    replaced: list[Location]
    devices: list[str]

    def capture(self) -> Capture:
        """Return what captures from them."""
        return _capture(self.request, self.model, self.saes)

    def capture_on(self, device: str, stored: Warehouse | None) -> Capture:
        """Load a copy onto another device and return what captures from it; raises what `load` raises."""
        model = _load_model(self.request, device, self.model.centred)
        return _capture(self.request, model, _load_saes(self.targets, self.sources, model, stored))

    def rows(self, files: FilesRead | None = None) -> Iterator[Tokens]:
        """Yield the rows [seq_len] of token ids of the corpus; what is read is added to `files`.

        Raises `AttnRulesError` when the corpus cannot be read or tokenised.
        """
        return _rows(self.request, self.model, files)


def find(request: Request) -> Sources:
    """Find the SAEs of both roles; raises `AttnRulesError` where a source is none or offers none."""
    return Sources(request.find_saes("input"), request.find_saes("output"))


def load(
    request: Request,
    sources: Sources,
    stored: Warehouse | None,
    report: Callable[[str], None] = lambda _: None,
) -> Loaded:
    """Load the model and the SAEs; `report` is called with what is being loaded.

    Raises `AttnRulesError` or `UsageError` when one is missing or malformed, when they do not fit each
    other or the options, or when `stored` holds something else.
    """
    spec = request.spec
    report("loading the model")
    devices = choose_devices(spec.device, spec.dtype)
    model = _load_model(request, devices[0])
    if stored is not None:
        held.refuse_other_model(stored, model, spec)
    refuse_beyond_context(spec, model.name, model.n_ctx)
    outputs = choose_outputs(spec, model, sources.inputs, sources.outputs)
    unfinished = [] if stored is None else _unfinished_outputs(request, model, outputs, stored)
    targets = Targets.of([*outputs, *unfinished], model.n_heads)
    report("loading the SAEs")
    saes = _load_saes(targets, sources, model, stored)
    model = _as_declared(model, saes, partial(_load_model, request, devices[0]))
    if stored is not None:
        held.refuse_other_processing(stored, model)
    replaced = [] if stored is None else held.differing_saes(stored, saes, spec)
    return Loaded(request, model, sources, tuple(sorted(outputs)), targets, saes, replaced, devices)


def _load_model(request: Request, device: str, centred: bool = True) -> Model:
    spec = request.spec
    return load_model(
        spec.model, revision=spec.revision, device=device, commit=request.model_commit, centred=centred
    )


def _load_saes(targets: Targets, sources: Sources, model: Model, stored: Warehouse | None) -> list[Sae]:
    wanted = [
        *((sources.inputs, Location(layer)) for layer in targets.layers),
        *((sources.outputs, Location(layer, head)) for layer, head in targets.outputs),
    ]
    return [load_sae(_source_of(source, at, stored), at, model) for source, at in wanted]


def _capture(request: Request, model: Model, saes: list[Sae]) -> Capture:
    spec = request.spec
    return Capture(model, saes, min_attention=spec.min_attention, dtype=spec.dtype)


def _source_of(given: SaeSource, at: Location, stored: Warehouse | None) -> SaeSource:
    """Return `given`, or where it lacks the SAE of a stored head, the source that the head came from."""
    if stored is None or given.offers(at):
        return given
    recorded = held.recorded_source(stored, given.role, at)
    if recorded is None or recorded == given.name:
        return given
    heads = None if at.head is None or at.is_whole_layer else (at.head,)
    sae_id = held.recorded_id(stored, given.role, recorded)
    try:
        return find_saes(given.role, recorded, sae_id=sae_id, layers=(at.layer,), heads=heads)
    except AttnRulesError as error:
        raise AttnRulesError(
            f"{given.role} SAE {given.name}: has none of {at}, which {stored.path} holds and further"
            f" sequences need; nor is it where it came from ({error})"
        ) from error


def _unfinished_outputs(
    request: Request, model: Model, chosen: list[tuple[int, int]], stored: Warehouse
) -> list[tuple[int, int]]:
    """Return the stored output SAEs not asked for, but without which sequences would be incomplete."""
    held_saes = stored.rows("SELECT layer, head FROM saes WHERE role = 'output'")
    others = [pair for pair in held_saes if pair not in chosen]
    ledger = Ledger(stored)
    if others and request.spec.n_sequences > ledger.n_sequences:
        beyond = islice(_rows(request, model), ledger.n_sequences, None)
        if next(beyond, None) is not None:
            return others
    return [pair for pair in others if ledger.lacks(*pair)]


def _as_declared(model: Model, saes: list[Sae], reload: Callable[[bool], Model]) -> Model:
    """Return the model with the residual stream that its input SAEs say they were trained on.

    Raises `AttnRulesError` when they disagree with each other.
    """
    if not model.can_centre:
        return model
    ways = {sae.declared.centred: sae for sae in saes if sae.role == "input"}
    if len(ways) == 2:
        raise AttnRulesError(
            f"input SAEs of {ways[True].location} and {ways[False].location} in {ways[True].source}: one was"
            " trained on a model with centred writing weights, the other on one without"
            " (model_from_pretrained_kwargs); ingest them into two files"
        )
    return model if model.centred in ways else reload(not model.centred)


def _rows(request: Request, model: Model, files: FilesRead | None = None) -> Iterator[Tokens]:
    spec = request.spec
    texts = documents(spec.corpus, request.corpus_commit, files.add if files else lambda _: None)
    return token_rows(
        texts,
        model.bridge.tokenizer,
        bos_token_id=model.bos_token_id,
        n_ctx=model.n_ctx,
        spec=spec.corpus,
        vocab_size=model.vocab_size,
    )
