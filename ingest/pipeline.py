"""`ingest`: the one pass from a model, its SAEs and a corpus into a warehouse.

The unit of work is a chunk of sequences: captured, then committed with its ledger row in one
transaction. A chunk remembers which heads it holds, so that resuming after a kill, adding sequences and
adding layers or heads are the same thing: doing whatever the ledger does not list yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from attnrules import queries
from attnrules.errors import AttnRulesError, UsageError
from attnrules.ingest.capture import Capture, Part, Targets
from attnrules.ingest.corpus import CorpusSpec, documents, token_rows
from attnrules.ingest.model import Model, load_model
from attnrules.ingest.saes import Location, Sae, SaeSource, find_saes, load_sae
from attnrules.warehouse import Warehouse

_FACT_TABLES = ("input_activations", "output_activations", "attention_sources", "token_scales")
