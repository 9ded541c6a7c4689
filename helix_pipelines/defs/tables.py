"""The tables behind the assets, as Dagster's catalog shows them: columns with types, and which column comes from which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import dagster as dg
from sqlalchemy import Table

from helix_pipelines.storage import tables

Lineage = Mapping[str, Sequence[tuple[str, str]]]
"""Column -> the (asset, column) pairs that it is made of."""

KNOWLEDGE_BASE_VIEW = dg.TableSchema(
    columns=[
        dg.TableColumn("pair_id", "bigint", "The pair, stable across imports"),
        dg.TableColumn("collection", "text"),
        dg.TableColumn("question", "text"),
        dg.TableColumn("answer", "text"),
        dg.TableColumn("language", "text", "ISO 639-1 code, NULL where it could not be told"),
        dg.TableColumn("category", "text"),
        dg.TableColumn("url", "text"),
        dg.TableColumn("stale", "boolean", "A correction of this pair waits for its embedding"),
        dg.TableColumn("sources", "jsonb", "Every row that says this: source, path, sheet, row, import"),
        dg.TableColumn("created_at", "timestamp with time zone"),
    ]
)
"""The view `helix.knowledge_base`: it has no SQLAlchemy table to take the columns from."""

PARSED_ROWS: Lineage = {
    "import_job_id": [("source_files", "id")],
}
QA_PAIRS: Lineage = {
    "question": [("parsed_rows", "raw")],
    "answer": [("parsed_rows", "raw")],
    "first_import_id": [("parsed_rows", "import_job_id")],
}
EMBEDDINGS: Lineage = {
    "text_hash": [("qa_pairs", "question"), ("qa_pairs", "answer")],
    "vector": [("qa_pairs", "question"), ("qa_pairs", "answer")],
}
KNOWLEDGE_BASE: Lineage = {
    "pair_id": [("qa_pairs", "id")],
    "question": [("qa_pairs", "question")],
    "answer": [("qa_pairs", "answer")],
    "language": [("qa_pairs", "language")],
    "sources": [("source_files", "path"), ("parsed_rows", "row_number")],
    "stale": [("embeddings", "state")],
}


def definition_metadata(table: Table) -> dict[str, dg.TableSchema | str]:
    """What the catalog says of an asset before any run: its table and the columns."""
    return {"dagster/table_name": f"{table.schema}.{table.name}", "dagster/column_schema": _schema(table)}


def knowledge_base_metadata() -> dict[str, dg.TableSchema | str]:
    """The same for the view that other applications read."""
    return {"dagster/table_name": f"{tables.SCHEMA}.knowledge_base", "dagster/column_schema": KNOWLEDGE_BASE_VIEW}


def column_lineage(lineage: Lineage) -> dg.TableColumnLineage:
    """The form in which a materialization carries it."""
    return dg.TableColumnLineage(
        {
            column: [dg.TableColumnDep(asset_key=asset, column_name=name) for asset, name in origins]
            for column, origins in lineage.items()
        }
    )


def _schema(table: Table) -> dg.TableSchema:
    return dg.TableSchema(
        columns=[
            dg.TableColumn(
                column.name,
                str(column.type).lower(),
                constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=bool(column.unique)),
            )
            for column in table.columns
        ],
        constraints=dg.TableConstraints(other=[table.comment] if table.comment else []),
    )
