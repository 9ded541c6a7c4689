"""The map: from a file to the knowledge base, one asset a stage, in the order in which the data goes.

Nothing is passed through Dagster's IO managers. A stage finds its work in the database by the import batch that its run is
about, so a re-execution never reads what a newer run wrote; what a stage has done already it does not do again.

Every asset may end without a materialization (`output_required=False`): where its batch is another run's, or a person asked the
run to stop, `ending_quietly` leaves the block, and what comes after is skipped.
"""

# No `from __future__ import annotations`: Dagster reads the annotation of `config` as it stands.
from collections.abc import Iterator
from typing import TYPE_CHECKING

import dagster as dg

from helix_pipelines.defs import tables as catalog
from helix_pipelines.defs.batch_config import BatchConfig, choose
from helix_pipelines.defs.findings import (
    FILES_ACCEPTED,
    ROWS_ACCEPTED,
    TEXTS_EMBEDDED,
    check_spec,
    files_are_accepted,
    not_known,
    rows_are_accepted,
    texts_are_embedded,
)
from helix_pipelines.defs.partitions import import_batches
from helix_pipelines.defs.phases import ending_quietly, heed_person, postpone, working_on_batch
from helix_pipelines.defs.reports import FILES_SHOWN, embedding_metadata, file_metadata, refused_table, waiting
from helix_pipelines.defs.resources import DatabaseResource, EmbeddingResource, StoreResource
from helix_pipelines.embedding.filling import embed_batch, failed_rows
from helix_pipelines.enrichment.decisions import decide_batch
from helix_pipelines.ingestion.intake import take_in
from helix_pipelines.parsing.staging import parse_batch
from helix_pipelines.serving.indexes import index_segments
from helix_pipelines.serving.publishing import merging_terms, publish_batch
from helix_pipelines.storage import tables
from helix_pipelines.storage.batch_runs import BatchRun

OWNERS = ["team:knowledge-platform"]
if TYPE_CHECKING:
    Materialized = dg.MaterializeResult[None]
else:  # Dagster refuses a result with a type argument where an asset has check_specs
    Materialized = dg.MaterializeResult


@dg.asset(
    group_name="ingestion",
    partitions_def=import_batches,
    kinds={"python", "file"},
    owners=OWNERS,
    code_version="1",
    output_required=False,
    metadata=catalog.definition_metadata(tables.import_job),
)
def source_files(
    context: dg.AssetExecutionContext,
    config: BatchConfig,
    database: dg.ResourceParam[DatabaseResource],
    batch_run: dg.ResourceParam[BatchRun],
    store: dg.ResourceParam[StoreResource],
) -> Iterator[Materialized]:
    """Files as they were handed over: fingerprinted (SHA-256), kept by content, format and encoding recognised.

    A file that cannot be imported is rejected with a code and a reason; its neighbours go on.
    """
    with ending_quietly(context), working_on_batch(context, database, batch_run, "source_files") as (pool, batch):
        choose(pool, batch, config)
        report = take_in(pool, batch, store.store(), store.limits())
        yield dg.MaterializeResult(metadata=file_metadata(report.files, report.seconds))


@dg.asset(
    group_name="parsing",
    deps=[source_files],
    partitions_def=import_batches,
    kinds={"python", "postgres"},
    owners=OWNERS,
    code_version="1",
    output_required=False,
    check_specs=[check_spec("parsed_rows", FILES_ACCEPTED)],
    metadata=catalog.definition_metadata(tables.import_row),
)
def parsed_rows(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[DatabaseResource],
    batch_run: dg.ResourceParam[BatchRun],
    store: dg.ResourceParam[StoreResource],
) -> Iterator[Materialized | dg.AssetCheckResult]:
    """Every record of every file, in the ledger: read in bounded chunks, each with its checkpoint.

    A record that cannot be used is quarantined with its row number, a code and a reason. None is lost.
    """
    with (
        ending_quietly(context) as ending,
        working_on_batch(context, database, batch_run, "parsed_rows") as (pool, batch),
    ):
        report = parse_batch(pool, batch, store.store(), store.limits())
        yield dg.MaterializeResult(
            metadata={
                **file_metadata(report.files, report.seconds),
                "dagster/row_count": report.rows_read,
                "dagster/column_lineage": catalog.column_lineage(catalog.PARSED_ROWS),
            },
            check_results=[files_are_accepted(report.files)],
        )
    if ending.outcome is not None:
        yield not_known(FILES_ACCEPTED, ending.outcome)


@dg.asset(
    group_name="enrichment",
    deps=[parsed_rows],
    partitions_def=import_batches,
    kinds={"sql", "postgres"},
    owners=OWNERS,
    code_version="1",
    output_required=False,
    check_specs=[check_spec("qa_pairs", ROWS_ACCEPTED)],
    metadata=catalog.definition_metadata(tables.qa_pair),
)
def qa_pairs(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[DatabaseResource],
    batch_run: dg.ResourceParam[BatchRun],
) -> Iterator[Materialized | dg.AssetCheckResult]:
    """Question/answer pairs, and what was decided on each row: inserted, updated, unchanged or duplicate.

    Rows are matched to their source's earlier ones by content, by external id, then by question. Content never changes: a
    correction is a new pair that replaces the old one once it is embedded.
    """
    with ending_quietly(context) as ending, working_on_batch(context, database, batch_run, "qa_pairs") as (pool, batch):
        report = decide_batch(pool, batch)
        yield dg.MaterializeResult(
            metadata={
                **file_metadata(report.files, report.seconds),
                "conflicts": report.conflicts,
                "vanished": report.vanished,
                "closed": report.closed,
                "dagster/row_count": report.inserted + report.updated,
                "dagster/column_lineage": catalog.column_lineage(catalog.QA_PAIRS),
            },
            check_results=[rows_are_accepted(report.files)],
        )
    if ending.outcome is not None:
        yield not_known(ROWS_ACCEPTED, ending.outcome)


@dg.asset(
    group_name="embedding",
    deps=[qa_pairs],
    partitions_def=import_batches,
    kinds={"openai", "postgres"},
    owners=OWNERS,
    code_version="2",
    output_required=False,
    check_specs=[check_spec("embeddings", TEXTS_EMBEDDED)],
    metadata=catalog.definition_metadata(tables.embedding),
)
def embeddings(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[DatabaseResource],
    batch_run: dg.ResourceParam[BatchRun],
    embedding: dg.ResourceParam[EmbeddingResource],
) -> Iterator[Materialized | dg.AssetCheckResult]:
    """Vectors of the pairs' passages, one a text and generation. A text that has one is not sent again.

    A text that the service refuses fails alone. A key or model that it refuses ends the step at once. While the service is away
    or a budget is spent the partition stays unmaterialized: its batch is deferred and goes on by itself.
    """
    with (
        ending_quietly(context) as ending,
        working_on_batch(context, database, batch_run, "embeddings") as (pool, batch),
    ):
        with embedding.service(pool) as service, merging_terms(pool):
            heed_person(context, pool, service.calls.key)
            report = embed_batch(pool, batch, service)
            refused = failed_rows(pool, batch, FILES_SHOWN) if report.failed else []
            if report.unavailable is not None:
                postpone(context, pool, batch, report.unavailable, service.calls.key)
        embedded = texts_are_embedded(report.failed, report.pending, report.texts)
        if report.unavailable is not None:
            context.log_event(
                dg.AssetObservation(context.asset_key, partition=batch.partition_key, metadata=waiting(report))
            )
            yield embedded  # without a materialization: what comes after is skipped, and the run ends as a success
            return
        yield dg.MaterializeResult(
            metadata={
                **embedding_metadata(report),
                **refused_table(refused),
                "dagster/column_lineage": catalog.column_lineage(catalog.EMBEDDINGS),
            },
            check_results=[embedded],
        )
    if ending.outcome is not None:
        yield not_known(TEXTS_EMBEDDED, ending.outcome)


@dg.asset(
    group_name="serving",
    deps=[embeddings],
    kinds={"postgres", "view"},
    owners=OWNERS,
    code_version="1",
    output_required=False,
    metadata=catalog.knowledge_base_metadata(),
)
def knowledge_base(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[DatabaseResource],
    batch_run: dg.ResourceParam[BatchRun],
) -> Iterator[Materialized]:
    """What applications search: every pair that some row stands for and that is embedded, over all batches.

    One whole, so it is not partitioned; a run brings it up to date with its batch.
    """
    with ending_quietly(context), working_on_batch(context, database, batch_run, "knowledge_base") as (pool, batch):
        report = publish_batch(pool, batch)
        indexes = index_segments(pool.url)  # the batch is done by now, so nobody waits for what may take minutes
        yield dg.MaterializeResult(
            metadata={
                **file_metadata(report.files, report.seconds),
                "segments_indexed": len(indexes.indexed),
                "import_batch": context.partition_key,
                "searchable_pairs": report.searchable_pairs,
                "stale_rows": report.stale_rows,
                "failed_texts": report.failed_texts,
                "dagster/row_count": report.searchable_pairs,
                "dagster/column_lineage": catalog.column_lineage(catalog.KNOWLEDGE_BASE),
            }
        )


IMPORT_ASSETS = [source_files, parsed_rows, qa_pairs, embeddings, knowledge_base]
"""The assets of an import, in the data's order."""
