"""The Python API: ingest into a warehouse, mine it, test its rules, ask it.

Every method takes keywords with the names and defaults of the spec it builds, so that an editor completes
them and a type checker refuses a wrong one; the specs say what each means.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from attnrules.errors import UsageError, closest, refuse_no_text
from attnrules.frames import FeatureFrames, HeadFrames, ShownRelation, ShownTable
from attnrules.plots import draw
from attnrules.queries.absence import AbsenceResult, AbsenceSpec, mine_absence
from attnrules.queries.card import FeatureCard, feature_card
from attnrules.queries.counting import CountingResult, CountingSpec, mine_counting
from attnrules.queries.explain import explained_features
from attnrules.queries.heads import FeatureId, parse_feature
from attnrules.queries.interventions import (
    InterveneResult,
    InterveneSpec,
    OutputResult,
    OutputSpec,
    ProbeSpec,
    StatedResult,
    StatedSpec,
    TestSpec,
    intervene,
    intervene_on_outputs,
    intervene_on_stated,
    probe,
    refuse_untestable,
)
from attnrules.queries.questions import ask, questions
from attnrules.queries.skipgrams import SkipgramResult, SkipgramSpec, mine_skipgrams
from attnrules.queries.stated import Reading, parse_rule, predict, read_confirmed, read_rule
from attnrules.queries.stated.narrowing import SCHEMA
from attnrules.warehouse import Warehouse

if TYPE_CHECKING:
    import duckdb
    import polars as pl

    from attnrules.ingest import IngestProgress, IngestResult
    from attnrules.ingest.intervene import Laboratory

Report = Callable[[str], None]
Feature = str | FeatureId
"""An output feature: `"L0H3.17"` or a `FeatureId`."""
Features = Feature | Iterable[Feature]
"""Output features: one, several, `"L0H3.17,L0H3.18"`, or `"all"`: every one of the chosen heads."""


def _silent(_: object) -> None:
    pass


class Sources(TypedDict, total=False):
    """Where model and SAEs are found and how they run, as `ingest.intervene.LaboratorySpec` says.

    Whatever is not said is taken from where the ingest took it.
    """

    model: str | None
    revision: str | None
    input_sae: str | None
    input_sae_id: str | None
    output_sae: str | None
    output_sae_id: str | None
    device: str
    batch_size: int | None


class Questions:
    """The named questions of a warehouse, which an editor completes."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def __dir__(self) -> list[str]:
        return list(questions())

    def __getattr__(self, name: str) -> Callable[..., pl.DataFrame]:
        if name.startswith("_") or name not in questions():
            raise AttributeError(f"no question named {name!r}{closest(name, questions())}")

        def answer(**parameters: object) -> pl.DataFrame:
            rows: pl.DataFrame = ask(self._warehouse, name, parameters).pl()
            return rows

        answer.__name__, answer.__doc__ = name, questions()[name].title
        return answer

    def __repr__(self) -> str:
        return "\n".join(f"{name}: {question.title}" for name, question in questions().items())


class RuleWarehouse(Warehouse):
    """A warehouse opened by `attnrules.open`: SQL, polars frames, mining, interventions, feature cards.

    What writes (`mine_...`, `intervene`) needs `writable=True`. `report` is called with the name of each
    head, such as `"L0H3"`, before it is worked on.
    """

    _relations = ShownRelation

    def table(self, name: str) -> ShownTable:
        """Return a handle on a table or view: `.lazy()`, `.pl()`; a notebook shows its first rows."""
        refuse_no_text(name, "table or view")
        return ShownTable(self.relation(name))

    def mine_skipgrams(
        self,
        *,
        method: str = "best",
        features: Features = (),
        n_features: int | None = 100,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        num_values: int = 100,
        num_queries: int = 100,
        max_rules: int = 4096,
        scaling: str = "paper",
        negative_values: bool = False,
        bos_keys: bool = False,
        min_count: int | None = None,
        max_count: int | None = None,
        examples_per_split: int = 50,
        example_sets: Sequence[str] = ("paper", "all_positions"),
        aggregation: str = "max",
        held_out: int = 100,
        baselines: bool = True,
        seed: int = 0,
        report: Report = _silent,
    ) -> SkipgramResult:
        """Mine skip-gram rules and judge them; `SkipgramSpec` says what each keyword means.

        Raises what `queries.skipgrams.mine_skipgrams` raises.
        """
        spec = SkipgramSpec(
            method=method,
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            num_values=num_values,
            num_queries=num_queries,
            max_rules=max_rules,
            scaling=scaling,
            negative_values=negative_values,
            bos_keys=bos_keys,
            min_count=min_count,
            max_count=max_count,
            examples_per_split=examples_per_split,
            example_sets=tuple(example_sets),
            aggregation=aggregation,
            held_out=held_out,
            baselines=baselines,
            seed=seed,
        )
        return mine_skipgrams(self, spec, report)

    def mine_absence(
        self,
        *,
        features: Features = (),
        n_features: int | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        pairs: int = 1,
        scaling: str = "paper",
        bos_keys: bool = False,
        max_examples: int = 200,
        seed: int = 0,
        report: Report = _silent,
    ) -> AbsenceResult:
        """Find absence rules; `AbsenceSpec` says what each keyword means.

        Raises what `queries.absence.mine_absence` raises.
        """
        spec = AbsenceSpec(
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            pairs=pairs,
            scaling=scaling,
            bos_keys=bos_keys,
            max_examples=max_examples,
            seed=seed,
        )
        return mine_absence(self, spec, report)

    def mine_counting(
        self,
        *,
        features: Features = (),
        n_features: int | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        pairs: int = 1,
        min_support: int = 20,
        scaling: str = "paper",
        bos_keys: bool = False,
        seed: int = 0,
        report: Report = _silent,
    ) -> CountingResult:
        """Find counting rules; `CountingSpec` says what each keyword means.

        Raises what `queries.counting.mine_counting` raises.
        """
        spec = CountingSpec(
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            pairs=pairs,
            min_support=min_support,
            scaling=scaling,
            bos_keys=bos_keys,
            seed=seed,
        )
        return mine_counting(self, spec, report)

    def intervene(
        self,
        *,
        features: Features = (),
        n_features: int | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        scaling: str = "paper",
        n_examples: int = 20,
        copies: int = 3,
        n_tokens: int = 3,
        n_controls: int = 9,
        seed: int = 0,
        report: Report = _silent,
        **sources: Unpack[Sources],
    ) -> InterveneResult:
        """Test absence and counting rules on the model, which is loaded first (imports torch).

        `Sources` say where the model is found, `InterveneSpec` what is tested. Raises what
        `queries.interventions.intervene` raises, and `AttnRulesError` for another model or SAE.
        """
        spec = InterveneSpec(
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            scaling=scaling,
            n_examples=n_examples,
            copies=copies,
            n_tokens=n_tokens,
            n_controls=n_controls,
            seed=seed,
        )
        return intervene(self, spec, self._laboratory(sources, spec), report)

    def intervene_on_outputs(
        self,
        *,
        features: Features = (),
        n_features: int | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        n_examples: int = 20,
        seed: int = 0,
        report: Report = _silent,
        **sources: Unpack[Sources],
    ) -> OutputResult:
        """Test on the model what features make it say; the model is loaded first (imports torch).

        `Sources` say where the model is found, `OutputSpec` what is tested. Raises what
        `queries.interventions.intervene_on_outputs` raises, and `AttnRulesError` for another model or SAE.
        """
        spec = OutputSpec(
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            n_examples=n_examples,
            seed=seed,
        )
        return intervene_on_outputs(self, spec, self._laboratory(sources, spec), report)

    def intervene_on_stated(
        self,
        *,
        features: Features = (),
        n_features: int | None = None,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        n_rules: int = 1,
        n_examples: int = 20,
        n_controls: int = 9,
        seed: int = 0,
        report: Report = _silent,
        **sources: Unpack[Sources],
    ) -> StatedResult:
        """Test stated rules on the model, which is loaded first (imports torch).

        `Sources` say where the model is found, `StatedSpec` what is tested. Raises what
        `queries.interventions.intervene_on_stated` raises, and `AttnRulesError` for another model or SAE.
        """
        spec = StatedSpec(
            features=_features(features),
            n_features=_number_of(features, n_features),
            layers=_numbers(layers),
            heads=_numbers(heads),
            n_rules=n_rules,
            n_examples=n_examples,
            n_controls=n_controls,
            seed=seed,
        )
        return intervene_on_stated(self, spec, self._laboratory(sources, spec), report)

    def probe(
        self,
        *,
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        n_tokens: int = 48,
        n_sequences: int = 16,
        seed: int = 0,
        report: Report = _silent,
        **sources: Unpack[Sources],
    ) -> pl.DataFrame:
        """Read what heads attend to on repeated random tokens, from the model, which is loaded first.

        Returns the rows of `head_probes` that it stores. `Sources` say where the model is found, `ProbeSpec`
        what is run; `report` is told of layers. Raises what `queries.interventions.probe` raises, and
        `AttnRulesError` for another model or SAE.
        """
        import polars as pl

        spec = ProbeSpec(
            layers=_numbers(layers),
            heads=_numbers(heads),
            n_tokens=n_tokens,
            n_sequences=n_sequences,
            seed=seed,
        )
        return pl.DataFrame(probe(self, spec, self._laboratory(sources, spec), report))

    def _laboratory(self, sources: Sources, spec: TestSpec) -> Laboratory:
        from attnrules.ingest.intervene import Laboratory, LaboratorySpec

        refuse_untestable(self, spec)
        return Laboratory.open(self, LaboratorySpec(**sources))

    def show(self, feature: Feature, *, n_rules: int = 10) -> FeatureCard:
        """Return the card of a feature, written `"L0H3.17"`."""
        return feature_card(self, _feature(feature), n_rules=n_rules)

    def test(self, rule: str, *, n_examples: int = 4, seed: int | None = None) -> Reading:
        """Judge a rule such as `"[' a'] at -1 -> L0H3.17"` as it is read, on all test positions.

        The `seed` says which sequences these are; None for that with which rules of the feature were mined.
        Raises `UsageError` for what is no rule, names no feature, or names what the warehouse does not have.
        """
        refuse_no_text(rule, "rule")
        statement, feature = parse_rule(rule)
        return read_rule(self, feature, statement, seed=seed, n_examples=n_examples)

    def test_confirmed(self, feature: Feature | None = None, *, seed: int = 0) -> pl.DataFrame:
        """Judge the absence and counting rules that the model confirms, with and without what they add.

        Of one feature, or of all; columns are those of `queries.stated.Narrowing`.
        """
        import polars as pl

        found = read_confirmed(self, None if feature is None else _feature(feature), seed=seed)
        return pl.DataFrame([asdict(one) for one in found], SCHEMA)

    def predict(
        self,
        texts: Sequence[str | Sequence[int] | Sequence[str]],
        *,
        features: Features = (),
        n_rules: int | None = None,
        tokenize: Callable[[str], Sequence[int]] | None = None,
    ) -> pl.DataFrame:
        """Return where stated rules say that a feature is active, without the model: those of tokens alone.

        `texts` are sequences of token ids or of tokens, without BOS; or texts, with `tokenize`. Columns and
        errors are those of `queries.stated.predict`.
        """
        chosen = _features(features)
        found: pl.DataFrame = predict(self, texts, features=chosen, n_rules=n_rules, tokenize=tokenize)
        return found

    def explain(
        self,
        text: str,
        *,
        features: Features = (),
        layers: Sequence[int] | None = None,
        heads: Sequence[int] | None = None,
        n_rules: int | None = None,
        with_model: bool = True,
        **sources: Unpack[Sources],
    ) -> pl.DataFrame:
        """Return token by token which features fire at a text, and which stated rules say so.

        The model is loaded and runs the text; not `with_model`, its tokenizer alone is, and rules that tokens
        decide are evaluated. A row is a position, BOS being 0, and a feature; columns are those of
        `queries.explain.Explained`. Raises `UsageError` for an empty text, one longer than the context, or a
        feature without stated rules, and `AttnRulesError` for another model or SAE.
        """
        from attnrules.explainer import Explainer
        from attnrules.ingest.intervene import LaboratorySpec

        refuse_no_text(text, "text to explain")
        chosen = explained_features(
            self, features=_features(features), layers=_numbers(layers), heads=_numbers(heads)
        )
        explainer = Explainer(self, LaboratorySpec(**sources), with_model=with_model)
        return explainer.explain(text, chosen, n_rules=n_rules).rows

    def ask(self, question: str, **parameters: object) -> duckdb.DuckDBPyRelation:
        """Run a named question (see `attnrules query --list`) or SQL and return a DuckDB relation.

        `parameters` fill the `$name` places. Raises `UsageError` for an unknown question or parameter.
        """
        refuse_no_text(question, "question or SQL")
        relation: duckdb.DuckDBPyRelation = ask(self, question, parameters)
        return relation

    query = ask

    def feature(self, feature: Feature) -> FeatureFrames:
        """Return what is known of an output feature, written `"L0H3.17"`, as polars frames.

        Raises `UsageError` when the warehouse does not hold it.
        """
        return FeatureFrames(self, _feature(feature))

    def head(self, head: str) -> HeadFrames:
        """Return what is known of a head, written `"L0H3"`, as polars frames.

        Raises `UsageError` when the warehouse does not hold it.
        """
        refuse_no_text(head, "head")
        return HeadFrames(self, head)

    @property
    def questions(self) -> Questions:
        """The named questions, each a method that answers with a polars DataFrame: `wh.questions.heads()`."""
        return Questions(self)

    def plot(self, name: str, **parameters: object) -> Any:
        """Return the altair chart of a plot (see `attnrules plot --list`); `parameters` are its question's.

        Raises `UsageError` for an unknown plot or parameter, `AttnRulesError` where altair is missing or
        there is nothing to draw.
        """
        return draw(self, name, parameters)

    def _repr_html_(self) -> str:
        from attnrules.pages.notebook import model_html

        return model_html(self)


def ingest_into(
    path: str | Path,
    *,
    model: str,
    input_sae: str,
    output_sae: str,
    corpus: str,
    revision: str | None = None,
    input_sae_id: str | None = None,
    output_sae_id: str | None = None,
    split: str = "train",
    text_column: str = "text",
    seq_len: int = 64,
    keep_long_documents: bool = False,
    lines: bool = False,
    special_tokens: str = "token",
    layers: Sequence[int] | None = None,
    heads: Sequence[int] | None = None,
    n_sequences: int = 50_000,
    min_attention: float = 0.01,
    device: str = "auto",
    dtype: str = "float32",
    batch_size: int | None = None,
    chunk_size: int | None = None,
    replace_output_saes: bool = False,
    n_output_tokens: int | None = None,
    seed: int = 0,
    report: Callable[[IngestProgress], None] = _silent,
) -> IngestResult:
    """Bring the warehouse at `path` to hold a model's activations on a corpus (imports torch).

    A text `path` that ends in / makes a lake, a folder of Parquet files. `IngestSpec` and `CorpusSpec` say
    what each keyword means; the same call again goes on where it stopped. Raises what `ingest.ingest` raises.
    """
    from attnrules.ingest import IngestSpec, ingest
    from attnrules.ingest.sources.corpus import CorpusSpec

    spec = IngestSpec(
        model=model,
        input_sae=input_sae,
        output_sae=output_sae,
        corpus=CorpusSpec(
            source=corpus,
            split=split,
            text_column=text_column,
            seq_len=seq_len,
            keep_long_documents=keep_long_documents,
            lines=lines,
            special_tokens=special_tokens,
        ),
        revision=revision,
        input_sae_id=input_sae_id,
        output_sae_id=output_sae_id,
        layers=_numbers(layers),
        heads=_numbers(heads),
        n_sequences=n_sequences,
        min_attention=min_attention,
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        chunk_size=chunk_size,
        replace_output_saes=replace_output_saes,
        n_output_tokens=n_output_tokens,
        seed=seed,
    )
    return ingest(Path(path), spec, report, lake=str(path).endswith("/"))


def _feature(feature: Feature) -> FeatureId:
    return parse_feature(str(feature))


def _features(features: Features) -> tuple[FeatureId, ...]:
    """Return the features that are named, none for `all`."""
    if isinstance(features, FeatureId):
        return (features,)
    if _are_all(features):
        return ()
    if isinstance(features, str):
        return tuple(map(parse_feature, features.split(",")))
    if not isinstance(features, Iterable):
        raise UsageError(f"{features!r}: names no features; write 'L0H3.17' or a list of such names")
    return tuple(map(_feature, features))


def _are_all(features: Features) -> bool:
    """Tell whether features are `"all"`, or a list of that one word."""
    if isinstance(features, list | tuple) and len(features) == 1:
        features = features[0]
    return isinstance(features, str) and features.strip().lower() == "all"


def _number_of(features: Features, n_features: int | None) -> int | None:
    """Return `n_features`, None where all are asked for."""
    return None if _are_all(features) else n_features


def _numbers(numbers: Sequence[int] | None) -> tuple[int, ...] | None:
    try:
        return None if numbers is None else tuple(numbers)
    except TypeError as error:
        raise UsageError(f"{numbers!r}: layers and heads are lists of numbers, such as [0, 3]") from error
