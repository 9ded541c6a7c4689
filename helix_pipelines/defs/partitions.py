"""How the data is cut for Dagster: one partition is one import batch."""

from __future__ import annotations

import dagster as dg

IMPORT_BATCHES = "import_batches"
"""Name of the partitions in Dagster's storage; `instance/` adds keys to it."""

import_batches = dg.DynamicPartitionsDefinition(name=IMPORT_BATCHES)
"""Files that are imported together, keyed `YYYYMMDD-HHMMSS-<name>-<8 hex>`. A key is added when its batch is sealed."""
