"""From a model and a corpus to rows of the warehouse. Knows nothing of rules.

The only room that imports torch, transformer_lens and sae_lens, and only inside functions: importing
this package costs nothing. `pipeline.ingest` is the one entry. `request` and `held` say what is asked for
and what the warehouse holds, `sources` is where it comes from, `loading` brings them together, `capture`
turns token rows into activations. `plan` tells all that without doing it; `intervene` goes back to the model.
"""

from attnrules.ingest.pipeline import IngestProgress, IngestResult, ingest
from attnrules.ingest.request import IngestSpec

__all__ = ["IngestProgress", "IngestResult", "IngestSpec", "ingest"]
