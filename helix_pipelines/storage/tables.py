"""The tables of schema `helix` as SQLAlchemy metadata: the models that migrations are checked against.

Statements are written in SQL (`storage/queries/`) and run through psycopg, so the models describe and do not map.
Bulk tables (`import_row`, `row_content`, `occurrence`, `passage`, `embedding`) carry no foreign keys: a check per row costs more
than the row (100k rows: +0.5 s a key); `helix verify` proves the same references set-based.
"""

from __future__ import annotations

from enum import StrEnum

from pgvector.sqlalchemy import HALFVEC
from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, TSVECTOR
from sqlalchemy.schema import SchemaItem

from helix_pipelines.storage.states import (
    BatchState,
    Decision,
    EmbeddingState,
    GenerationStatus,
    ImportState,
    PhaseState,
)

SCHEMA = "helix"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    },
)


def _one_of(column: str, values: type[StrEnum]) -> str:
    return f"{column} IN ({', '.join(repr(str(value)) for value in values)})"


def _time(name: str, *, default: bool = False, nullable: bool = True) -> Column[object]:
    server_default = func.now() if default else None
    return Column(name, DateTime(timezone=True), server_default=server_default, nullable=nullable and not default)


def _count(name: str, kind: type[Integer | BigInteger] = Integer) -> Column[int]:
    return Column(name, kind, nullable=False, server_default="0")


def _work_columns() -> list[SchemaItem]:
    """What every table of outside work has: a state, who works on it until when, and when to try again."""
    return [
        Column("state", Text, CheckConstraint(_one_of("state", EmbeddingState), name="state"), nullable=False,
               server_default="pending"),
        Column("attempts", SmallInteger, nullable=False, server_default="0"),
        _time("next_attempt_at"),
        Column("claim_token", Uuid),
        _time("claim_expires_at"),
        Column("error_code", Text),
        Column("error_text", Text),
    ]  # fmt: skip


collection = Table(
    "collection",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, CheckConstraint("name <> ''", name="name"), nullable=False, unique=True),
    _time("created_at", default=True),
    comment="A knowledge base: the space in which pairs are deduplicated and searched.",
)

source = Table(
    "source",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("collection_id", Integer, ForeignKey("helix.collection.id"), nullable=False),
    Column("name", Text, CheckConstraint("name <> ''", name="name"), nullable=False),
    _time("created_at", default=True),
    UniqueConstraint("collection_id", "name"),
    comment="A logical file of a collection; its imports succeed each other.",
)

import_batch = Table(
    "import_batch",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("partition_key", Text, CheckConstraint("partition_key ~ '^[a-z0-9-]{1,120}$'", name="partition_key"),
           nullable=False, unique=True),
    Column("name", Text, nullable=False),
    Column("config", JSONB, nullable=False, server_default="{}"),
    Column("state", Text, CheckConstraint(_one_of("state", BatchState), name="state"), nullable=False,
           server_default="queued"),
    Column("position", Numeric),
    Column("priority", Integer, nullable=False, server_default="0"),
    Column("lease_token", Uuid),
    _time("lease_expires_at"),
    Column("run_id", Text),
    _count("attempts"),
    Column("counters", JSONB, nullable=False, server_default="{}"),
    Column("error", JSONB),
    _time("created_at", default=True),
    _time("launched_at"),
    _time("started_at"),
    _time("finished_at"),
    _time("retry_at"),
    Column("gate_key", LargeBinary),
    Column("stop_requested", Text, CheckConstraint("stop_requested IN ('pause', 'cancel')", name="stop_requested")),
    Column("holder", JSONB),
    Column("progress", BigInteger, nullable=False, server_default="0"),
    _count("fruitless"),
    UniqueConstraint("position", deferrable=True, initially="DEFERRED"),
    CheckConstraint("(state = 'queued') = (position IS NOT NULL)", name="position"),
    Index("ix_import_batch_state", "state"),
    Index("ix_import_batch_queue", text("priority DESC"), "position", postgresql_where=text("state = 'queued'")),
    comment="One Dagster partition: files that are imported together.",
)  # fmt: skip

batch_transition = Table(
    "batch_transition",
    metadata,
    Column("from_state", Text, primary_key=True),
    Column("to_state", Text, primary_key=True),
    comment="The allowed changes of import_batch.state; a trigger refuses all others.",
)

import_job = Table(
    "import_job",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("batch_id", BigInteger, ForeignKey("helix.import_batch.id"), nullable=False),
    Column("arrival", BigInteger, Identity(always=True), nullable=False, unique=True),
    Column("source_id", Integer, ForeignKey("helix.source.id"), nullable=False),
    Column("path", Text, nullable=False),
    Column("sha256", Text, CheckConstraint("sha256 ~ '^[0-9a-f]{64}$'", name="sha256")),
    Column("bytes", BigInteger),
    Column("format", Text),
    Column("encoding", Text),
    Column("dialect", JSONB),
    Column("mapping", JSONB, nullable=False, server_default="{}"),
    Column("sheets", JSONB, nullable=False, server_default="[]"),
    Column("columns", JSONB),
    Column("notes", JSONB, nullable=False, server_default="[]"),
    Column("mode", Text, CheckConstraint("mode IN ('append', 'sync')", name="mode"), nullable=False),
    Column("state", Text, CheckConstraint(_one_of("state", ImportState), name="state"), nullable=False,
           server_default="pending"),
    _count("rows_read"),
    _count("inserted"),
    _count("updated"),
    _count("unchanged"),
    _count("duplicate"),
    _count("quarantined"),
    Column("pending", Integer,
           Computed("rows_read - inserted - updated - unchanged - duplicate - quarantined", persisted=True)),
    _count("conflicts"),
    _count("vanished"),
    _count("closed"),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("reader_version", Text),
    Column("pipeline_version", Text, nullable=False),
    Column("same_as", BigInteger, ForeignKey("helix.import_job.id")),
    Column("archive_id", BigInteger, ForeignKey("helix.import_job.id")),
    Column("replay_of", BigInteger, ForeignKey("helix.import_job.id")),
    _time("undone_at"),
    _time("created_at", default=True),
    _time("finished_at"),
    CheckConstraint("pending >= 0", name="adds_up"),
    CheckConstraint("state NOT LIKE 'completed%' OR pending = 0", name="completed_has_no_pending"),
    Index("ix_import_job_batch_id", "batch_id"),
    Index("ix_import_job_source_id_arrival", "source_id", "arrival"),
    comment="One file of a batch and what became of its rows.",
)  # fmt: skip

import_row = Table(
    "import_row",
    metadata,
    Column("import_job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("row_number", Integer, nullable=False),
    Column("sheet", Text),
    Column("row_key", BigInteger),
    Column("decision", Text, CheckConstraint(_one_of("decision", Decision), name="decision"), nullable=False),
    Column("pair_id", BigInteger),
    Column("code", Text),
    Column("reason", Text),
    Column("replayed_by", BigInteger),
    Column("content_hash", Uuid),
    Column("question_key", Uuid),
    Column("external_key", Uuid),
    CheckConstraint("(decision = 'quarantine') = (code IS NOT NULL)", name="quarantine_has_a_code"),
    Index("ix_import_row_quarantine", "import_job_id", postgresql_where=text("decision = 'quarantine'")),
    comment="The ledger: what was decided on each record of each import. `close` lines have negative ordinals.",
    postgresql_with={"fillfactor": "50"},  # updates stay in their page
)

row_content = Table(
    "row_content",
    metadata,
    Column("import_job_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ordinal", Integer, primary_key=True, autoincrement=False),
    Column("question", Text),
    Column("answer", Text),
    Column("language", Text),
    Column("terms", Text),
    Column("external_id", Text),
    Column("category", Text),
    Column("url", Text),
    Column("extra", JSONB),
    Column("original", JSONB),
    Column("raw", JSONB),
    comment="The texts of a ledger line, kept until retention clears them; quarantined ones are kept.",
)

checkpoint = Table(
    "checkpoint",
    metadata,
    Column("import_job_id", BigInteger, ForeignKey("helix.import_job.id"), primary_key=True),
    Column("phase", Text, primary_key=True),
    Column("records", BigInteger, nullable=False),
    Column("chunk", Integer, nullable=False),
    Column("reader_version", Text, nullable=False),
    _time("updated_at", default=True),
    comment="How far a phase of an import is, committed with the rows that it covers.",
)

qa_pair = Table(
    "qa_pair",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("collection_id", Integer, nullable=False),
    Column("content_hash", Uuid, nullable=False),
    Column("question_key", Uuid, nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("language", Text),
    Column("search", TSVECTOR),
    Column("derived_version", SmallInteger, nullable=False),
    Column("first_import_id", BigInteger, nullable=False),
    _time("created_at", default=True),
    UniqueConstraint("collection_id", "content_hash"),
    Index("ix_qa_pair_collection_id_question_key", "collection_id", "question_key"),
    Index("ix_qa_pair_search", "search", postgresql_using="gin", postgresql_with={"gin_pending_list_limit": 131072}),
    comment="Immutable content of a pair; only the derived columns (language, search) may be rebuilt.",
)

occurrence = Table(
    "occurrence",
    metadata,
    Column("source_id", Integer, primary_key=True, autoincrement=False),
    Column("row_key", BigInteger, primary_key=True, autoincrement=False),
    Column("collection_id", Integer, nullable=False),
    Column("pair_id", BigInteger, nullable=False),
    Column("served_pair_id", BigInteger),
    Column("stale", Boolean, nullable=False, server_default="false"),
    Column("import_job_id", BigInteger, nullable=False),
    Column("ordinal", Integer, nullable=False),
    Column("row_number", Integer, nullable=False),
    Column("sheet", Text),
    Column("content_hash", Uuid, nullable=False),
    Column("question_key", Uuid, nullable=False),
    Column("external_key", Uuid),
    Column("category", Text),
    Column("url", Text),
    Index("ix_occurrence_source_id_question_key", "source_id", "question_key"),
    Index("ix_occurrence_served_pair_id", "served_pair_id", postgresql_where=text("served_pair_id IS NOT NULL")),
    Index("ix_occurrence_unserved", "pair_id", postgresql_where=text("served_pair_id IS DISTINCT FROM pair_id")),
    comment="Derived from the ledger: which pair each row of a source stands for now, and which one is served.",
    postgresql_with={"fillfactor": "50"},  # updates stay in their page
)

passage = Table(
    "passage",
    metadata,
    Column("pair_id", BigInteger, primary_key=True, autoincrement=False),
    Column("recipe", Text, primary_key=True),
    Column("ordinal", SmallInteger, primary_key=True, autoincrement=False),
    Column("text_hash", Uuid, nullable=False),
    Column("body", Text, nullable=False),
    Index("ix_passage_text_hash", "text_hash"),
    comment="The text units of a pair as a generation's recipe cuts them.",
)

embedding_generation = Table(
    "embedding_generation",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("model", Text, nullable=False),
    Column("dimensions", Integer, CheckConstraint("dimensions BETWEEN 1 AND 4000", name="dimensions"), nullable=False),
    Column("recipe", Text, nullable=False),
    Column("connection", JSONB, nullable=False, server_default="{}"),
    Column("status", Text, CheckConstraint(_one_of("status", GenerationStatus), name="status"), nullable=False),
    Column("open_segment", SmallInteger, nullable=False, server_default="0"),
    _time("created_at", default=True),
    _time("activated_at"),
    _time("retired_at"),
    Index("uq_embedding_generation_active", "status", unique=True, postgresql_where=text("status = 'active'")),
    comment="A model, its dimensions and its text recipe; vectors of two generations are never mixed.",
)

embedding = Table(
    "embedding",
    metadata,
    Column("generation_id", Integer, primary_key=True, autoincrement=False),
    Column("text_hash", Uuid, primary_key=True),
    *_work_columns(),
    Column("vector", HALFVEC),
    Column("segment", SmallInteger),
    Column("tokens", Integer),
    Column("import_job_id", BigInteger),
    Column("run_id", Text),
    _time("updated_at", default=True),
    CheckConstraint("(state = 'completed') = (vector IS NOT NULL)", name="completed_has_a_vector"),
    Index("ix_embedding_open", "generation_id", "state", postgresql_where=text("state <> 'completed'")),
    postgresql_partition_by="LIST (generation_id)",
    comment="One vector a text and generation; import_job_id is the import that paid for it.",
)

source_domain = Table(
    "source_domain",
    metadata,
    Column("domain", Text, primary_key=True),
    *_work_columns(),
    Column("facts", JSONB),
    _time("fetched_at"),
    comment="Site facts of the rows' source URLs, once a domain.",
)

llm_response = Table(
    "llm_response",
    metadata,
    Column("pair_id", BigInteger, primary_key=True, autoincrement=False),
    Column("prompt", Text, primary_key=True),
    Column("connection", Text, primary_key=True),
    *_work_columns(),
    Column("response", Text),
    Column("tokens", Integer),
    comment="Answers of language models over pairs, never asked twice.",
)

EAGER_VACUUM = {
    "autovacuum_vacuum_threshold": "50",
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_cost_delay": "0",
}
"""For a few rows that are written thousands of times a minute: their dead versions must not wait for the usual share."""

gate = Table(
    "gate",
    metadata,
    Column("key_hash", LargeBinary, primary_key=True),
    Column("service", Text, nullable=False),
    Column("requests_per_minute", Double),
    Column("tokens_per_minute", Double),
    Column("max_concurrency", Integer),
    _time("requests_tat"),
    _time("tokens_tat"),
    _time("blocked_until"),
    Column("breaker", Text, CheckConstraint("breaker IN ('closed', 'open', 'half_open')", name="breaker"),
           nullable=False, server_default="closed"),
    Column("breaker_generation", BigInteger, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    _time("retry_at"),
    Column("message", Text),
    Column("id", Text, Computed("encode(key_hash, 'hex')", persisted=True)),
    # What the settings say; `chosen_*` is an operator's word and wins, `told_*` is the service's own and caps both.
    Column("period_seconds", Double, CheckConstraint("period_seconds > 0", name="period_seconds"), nullable=False,
           server_default="60"),
    Column("tokens_per_day", BigInteger),
    Column("failure_threshold", Integer, nullable=False, server_default="5"),
    Column("probe_cap_seconds", Double, nullable=False, server_default="60"),
    Column("chosen_requests_per_minute", Double),
    Column("chosen_tokens_per_minute", Double),
    Column("chosen_max_concurrency", Integer),
    Column("told_requests", Double),
    Column("told_tokens", Double),
    # Searches have arrival times of their own.
    _time("reserve_requests_tat"),
    _time("reserve_tokens_tat"),
    _time("interactive_at"),
    _time("interactive_since"),
    Column("largest_tokens", Integer, nullable=False, server_default="0"),
    _time("largest_at"),
    Column("token_ratio", Double, nullable=False, server_default="1"),
    _time("failed_at"),
    Column("probe_wait", Double, nullable=False, server_default="0"),
    _time("opened_at"),
    Column("shut_code", Text),
    Column("shut_scope", Text),
    _time("shut_at"),
    Column("day", Date),
    Column("day_tokens", BigInteger, nullable=False, server_default="0"),
    postgresql_with={"fillfactor": "10", **EAGER_VACUUM},
    comment="Shared rate limit and breaker of one upstream key.",
)  # fmt: skip

gate_lease = Table(
    "gate_lease",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("key_hash", LargeBinary, ForeignKey("helix.gate.key_hash", ondelete="CASCADE"), nullable=False),
    Column("class", Text, CheckConstraint("class IN ('interactive', 'bulk')", name="class"), nullable=False),
    Column("breaker_generation", BigInteger, nullable=False),
    _time("expires_at", nullable=False),
    Column("holder", BigInteger),
    _time("starts_at", default=True),
    Column("is_probe", Boolean, nullable=False, server_default="false"),
    Column("estimated_tokens", Integer, nullable=False, server_default="0"),
    Column("charged_tokens", Integer, nullable=False, server_default="0"),
    Index("ix_gate_lease_key_hash", "key_hash"),
    postgresql_with=EAGER_VACUUM,
    comment="Requests in flight at an upstream key; a dead holder's lease lapses.",
)

event = Table(
    "event",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("batch_id", BigInteger, ForeignKey("helix.import_batch.id")),
    Column("import_job_id", BigInteger, ForeignKey("helix.import_job.id")),
    Column("payload", JSONB, nullable=False, server_default="{}"),
    _time("created_at", default=True),
    Index("ix_event_batch_id", "batch_id"),
    comment="Outbox: written in the transaction that makes it true.",
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("at", DateTime(timezone=True), server_default=func.clock_timestamp(), nullable=False),
    Column("actor", Text, nullable=False),
    Column("table_name", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("row_count", BigInteger, nullable=False),
    Column("keys", JSONB, nullable=False),
    Column("changed", ARRAY(Text), nullable=False, server_default="{}"),
    comment="Append-only: who changed what. Ids, hashes and column names, never row text.",
)

api_usage = Table(
    "api_usage",
    metadata,
    Column("import_job_id", BigInteger, ForeignKey("helix.import_job.id"), primary_key=True),
    Column("service", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    _count("requests"),
    _count("texts"),
    _count("tokens", BigInteger),
    Column("cost", Numeric(18, 9), nullable=False, server_default="0"),
    comment="What an import paid for; texts found in the cache cost nothing and are not booked.",
)

phase_run = Table(
    "phase_run",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("batch_id", BigInteger, ForeignKey("helix.import_batch.id"), nullable=False),
    Column("phase", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    _time("started_at", default=True),
    _time("finished_at"),
    Column("state", Text, CheckConstraint(_one_of("state", PhaseState), name="state"), nullable=False,
           server_default="running"),
    Column("error_code", Text),
    Column("error", Text),
    Column("recoverable", Boolean),
    Column("place", JSONB),
    Column("advice", Text),
    Index("ix_phase_run_batch_id", "batch_id"),
    comment="Every attempt at a phase of a batch, with its duration and failure.",
)  # fmt: skip

inbox_file = Table(
    "inbox_file",
    metadata,
    Column("path", Text, primary_key=True),
    Column("bytes", BigInteger, nullable=False),
    Column("modified_ns", BigInteger, nullable=False),
    _time("seen_at", default=True),
    Column("import_job_id", BigInteger, ForeignKey("helix.import_job.id")),
    comment="The inbox as last listed: a file is taken once it has kept size and time for the stable period.",
)
