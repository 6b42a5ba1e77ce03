"""The DuckDB file: create it, open it, fill it, look inside it, verify it.

Knows nothing of models, rules or how a number is computed. `store` holds the connection and the
loading, `digests` what was written and `rowhash` how it is hashed, `inspect` what `attnrules info` and
`attnrules check` report, `describe` where every number comes from, `catalogue` compares what a file defines
with `sql/`, `upgrade` writes a file of an earlier version anew, `export` writes the tables as Parquet,
`descriptions` reads those of others, `asked` logs what ran. `lake` keeps facts as Parquet files beside a
small DuckDB file, `convert` makes a lake of a file and a file of a lake, and `remote` publishes a lake to S3
and fetches it, through `objects`.
"""

from attnrules.sql import WHOLE_LAYER, head_name
from attnrules.warehouse.asked import Query
from attnrules.warehouse.describe import POOR_CAUSES, POOR_RECONSTRUCTION, describe
from attnrules.warehouse.descriptions import import_descriptions
from attnrules.warehouse.export import export
from attnrules.warehouse.inspect import WarehouseInfo, check, damage, info, n_mined_features
from attnrules.warehouse.store import Warehouse
from attnrules.warehouse.upgrade import Upgrade, upgrade

__all__ = [
    "POOR_CAUSES",
    "POOR_RECONSTRUCTION",
    "WHOLE_LAYER",
    "Query",
    "Upgrade",
    "Warehouse",
    "WarehouseInfo",
    "check",
    "damage",
    "describe",
    "export",
    "head_name",
    "import_descriptions",
    "info",
    "n_mined_features",
    "upgrade",
]
