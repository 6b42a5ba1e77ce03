"""From a model and a corpus to rows of the warehouse. Knows nothing of rules.

The only room that imports torch, transformer_lens and sae_lens, and only inside functions: importing
this package costs nothing. `pipeline.ingest` is the one entry; `model`, `saes`, `corpus` find the
sources, `capture` turns token rows into activations.
"""

from attnrules.ingest.pipeline import IngestProgress, IngestResult, IngestSpec, ingest

__all__ = ["IngestProgress", "IngestResult", "IngestSpec", "ingest"]
