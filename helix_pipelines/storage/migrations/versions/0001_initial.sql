-- Schema helix, first revision. Tables come first, then the functions and triggers that guard them.

CREATE TABLE helix.audit_log (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    actor TEXT NOT NULL,
    table_name TEXT NOT NULL,
    action TEXT NOT NULL,
    row_count BIGINT NOT NULL,
    keys JSONB NOT NULL,
    changed TEXT[] DEFAULT '{}' NOT NULL,
    CONSTRAINT pk_audit_log PRIMARY KEY (id)
);
COMMENT ON TABLE helix.audit_log IS 'Append-only: who changed what. Ids, hashes and column names, never row text.';

CREATE TABLE helix.batch_transition (
    from_state TEXT NOT NULL,
    to_state TEXT NOT NULL,
    CONSTRAINT pk_batch_transition PRIMARY KEY (from_state, to_state)
);
COMMENT ON TABLE helix.batch_transition IS 'The allowed changes of import_batch.state; a trigger refuses all others.';

CREATE TABLE helix.collection (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    name TEXT NOT NULL CONSTRAINT ck_collection_name CHECK (name <> ''),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_collection PRIMARY KEY (id),
    CONSTRAINT uq_collection_name UNIQUE (name)
);
COMMENT ON TABLE helix.collection IS 'A knowledge base: the space in which pairs are deduplicated and searched.';

CREATE TABLE helix.embedding (
    generation_id INTEGER NOT NULL,
    text_hash UUID NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL CONSTRAINT ck_embedding_state CHECK (state IN ('pending', 'completed', 'failed')),
    attempts SMALLINT DEFAULT '0' NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    claim_token UUID,
    claim_expires_at TIMESTAMP WITH TIME ZONE,
    error_code TEXT,
    error_text TEXT,
    vector HALFVEC,
    segment SMALLINT,
    tokens INTEGER,
    import_job_id BIGINT,
    run_id TEXT,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_embedding PRIMARY KEY (generation_id, text_hash),
    CONSTRAINT ck_embedding_completed_has_a_vector CHECK ((state = 'completed') = (vector IS NOT NULL))
)
 PARTITION BY LIST (generation_id);
CREATE INDEX ix_embedding_open ON helix.embedding (generation_id, state) WHERE state <> 'completed';
COMMENT ON TABLE helix.embedding IS 'One vector a text and generation; import_job_id is the import that paid for it.';

CREATE TABLE helix.embedding_generation (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    model TEXT NOT NULL,
    dimensions INTEGER NOT NULL CONSTRAINT ck_embedding_generation_dimensions CHECK (dimensions BETWEEN 1 AND 4000),
    recipe TEXT NOT NULL,
    connection JSONB DEFAULT '{}' NOT NULL,
    status TEXT NOT NULL CONSTRAINT ck_embedding_generation_status CHECK (status IN ('building', 'active', 'retired')),
    open_segment SMALLINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    activated_at TIMESTAMP WITH TIME ZONE,
    retired_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_embedding_generation PRIMARY KEY (id)
);
CREATE UNIQUE INDEX uq_embedding_generation_active ON helix.embedding_generation (status) WHERE status = 'active';
COMMENT ON TABLE helix.embedding_generation IS 'A model, its dimensions and its text recipe; vectors of two generations are never mixed.';

CREATE TABLE helix.gate (
    key_hash BYTEA NOT NULL,
    service TEXT NOT NULL,
    requests_per_minute DOUBLE PRECISION,
    tokens_per_minute DOUBLE PRECISION,
    max_concurrency INTEGER,
    requests_tat TIMESTAMP WITH TIME ZONE,
    tokens_tat TIMESTAMP WITH TIME ZONE,
    blocked_until TIMESTAMP WITH TIME ZONE,
    breaker TEXT DEFAULT 'closed' NOT NULL CONSTRAINT ck_gate_breaker CHECK (breaker IN ('closed', 'open', 'half_open')),
    breaker_generation BIGINT DEFAULT '0' NOT NULL,
    failures INTEGER DEFAULT '0' NOT NULL,
    retry_at TIMESTAMP WITH TIME ZONE,
    message TEXT,
    CONSTRAINT pk_gate PRIMARY KEY (key_hash)
)
 WITH (fillfactor = 10);
COMMENT ON TABLE helix.gate IS 'Shared rate limit and breaker of one upstream key.';

CREATE TABLE helix.import_batch (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    partition_key TEXT NOT NULL CONSTRAINT ck_import_batch_partition_key CHECK (partition_key ~ '^[a-z0-9-]{1,120}$'),
    name TEXT NOT NULL,
    config JSONB DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL CONSTRAINT ck_import_batch_state CHECK (state IN ('queued', 'launched', 'running', 'done', 'error', 'paused', 'deferred', 'cancelled')),
    position INTEGER,
    priority INTEGER DEFAULT '0' NOT NULL,
    lease_token UUID,
    lease_expires_at TIMESTAMP WITH TIME ZONE,
    run_id TEXT,
    attempts INTEGER DEFAULT '0' NOT NULL,
    counters JSONB DEFAULT '{}' NOT NULL,
    error JSONB,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    launched_at TIMESTAMP WITH TIME ZONE,
    started_at TIMESTAMP WITH TIME ZONE,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_import_batch PRIMARY KEY (id),
    CONSTRAINT uq_import_batch_position UNIQUE (position) DEFERRABLE INITIALLY DEFERRED,
    CONSTRAINT ck_import_batch_position CHECK ((state = 'queued') = (position IS NOT NULL)),
    CONSTRAINT uq_import_batch_partition_key UNIQUE (partition_key)
);
CREATE INDEX ix_import_batch_state ON helix.import_batch (state);
COMMENT ON TABLE helix.import_batch IS 'One Dagster partition: files that are imported together.';

CREATE TABLE helix.import_row (
    import_job_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    row_number INTEGER NOT NULL,
    sheet TEXT,
    row_key BIGINT,
    decision TEXT NOT NULL CONSTRAINT ck_import_row_decision CHECK (decision IN ('pending', 'insert', 'update', 'unchanged', 'duplicate', 'close', 'quarantine')),
    pair_id BIGINT,
    code TEXT,
    reason TEXT,
    content_hash UUID,
    question_key UUID,
    external_key UUID,
    CONSTRAINT pk_import_row PRIMARY KEY (import_job_id, ordinal),
    CONSTRAINT ck_import_row_quarantine_has_a_code CHECK ((decision = 'quarantine') = (code IS NOT NULL))
);
CREATE INDEX ix_import_row_quarantine ON helix.import_row (import_job_id) WHERE decision = 'quarantine';
COMMENT ON TABLE helix.import_row IS 'The ledger: what was decided on each record of each import. `close` lines have negative ordinals.';

CREATE TABLE helix.llm_response (
    pair_id BIGINT NOT NULL,
    prompt TEXT NOT NULL,
    connection TEXT NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL CONSTRAINT ck_llm_response_state CHECK (state IN ('pending', 'completed', 'failed')),
    attempts SMALLINT DEFAULT '0' NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    claim_token UUID,
    claim_expires_at TIMESTAMP WITH TIME ZONE,
    error_code TEXT,
    error_text TEXT,
    response TEXT,
    tokens INTEGER,
    CONSTRAINT pk_llm_response PRIMARY KEY (pair_id, prompt, connection)
);
COMMENT ON TABLE helix.llm_response IS 'Answers of language models over pairs, never asked twice.';

CREATE TABLE helix.occurrence (
    source_id INTEGER NOT NULL,
    row_key BIGINT NOT NULL,
    collection_id INTEGER NOT NULL,
    pair_id BIGINT NOT NULL,
    served_pair_id BIGINT,
    stale BOOLEAN DEFAULT 'false' NOT NULL,
    import_job_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    row_number INTEGER NOT NULL,
    sheet TEXT,
    content_hash UUID NOT NULL,
    question_key UUID NOT NULL,
    external_key UUID,
    category TEXT,
    url TEXT,
    CONSTRAINT pk_occurrence PRIMARY KEY (source_id, row_key)
);
CREATE INDEX ix_occurrence_served_pair_id ON helix.occurrence (served_pair_id) WHERE served_pair_id IS NOT NULL;
CREATE INDEX ix_occurrence_source_id_question_key ON helix.occurrence (source_id, question_key);
CREATE INDEX ix_occurrence_unserved ON helix.occurrence (pair_id) WHERE served_pair_id IS DISTINCT FROM pair_id;
COMMENT ON TABLE helix.occurrence IS 'Derived from the ledger: which pair each row of a source stands for now, and which one is served.';

CREATE TABLE helix.passage (
    pair_id BIGINT NOT NULL,
    recipe TEXT NOT NULL,
    ordinal SMALLINT NOT NULL,
    text_hash UUID NOT NULL,
    body TEXT NOT NULL,
    CONSTRAINT pk_passage PRIMARY KEY (pair_id, recipe, ordinal)
);
CREATE INDEX ix_passage_text_hash ON helix.passage (text_hash);
COMMENT ON TABLE helix.passage IS 'The text units of a pair as a generation''s recipe cuts them.';

CREATE TABLE helix.qa_pair (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    collection_id INTEGER NOT NULL,
    content_hash UUID NOT NULL,
    question_key UUID NOT NULL,
    question TEXT NOT NULL,
    answer TEXT NOT NULL,
    language TEXT,
    search TSVECTOR,
    derived_version SMALLINT NOT NULL,
    first_import_id BIGINT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_qa_pair PRIMARY KEY (id),
    CONSTRAINT uq_qa_pair_collection_id_content_hash UNIQUE (collection_id, content_hash)
);
CREATE INDEX ix_qa_pair_collection_id_question_key ON helix.qa_pair (collection_id, question_key);
-- Terms wait in a list of up to 128 MB and are merged at once when a batch is published: cheaper than portions of 4 MB.
CREATE INDEX ix_qa_pair_search ON helix.qa_pair USING gin (search) WITH (gin_pending_list_limit = 131072);
COMMENT ON TABLE helix.qa_pair IS 'Immutable content of a pair; only the derived columns (language, search) may be rebuilt.';

CREATE TABLE helix.row_content (
    import_job_id BIGINT NOT NULL,
    ordinal INTEGER NOT NULL,
    question TEXT,
    answer TEXT,
    language TEXT,
    terms TEXT,
    external_id TEXT,
    category TEXT,
    url TEXT,
    extra JSONB,
    original JSONB,
    raw JSONB,
    CONSTRAINT pk_row_content PRIMARY KEY (import_job_id, ordinal)
);
COMMENT ON TABLE helix.row_content IS 'The texts of a ledger line, kept until retention clears them; quarantined ones are kept.';

CREATE TABLE helix.source_domain (
    domain TEXT NOT NULL,
    state TEXT DEFAULT 'pending' NOT NULL CONSTRAINT ck_source_domain_state CHECK (state IN ('pending', 'completed', 'failed')),
    attempts SMALLINT DEFAULT '0' NOT NULL,
    next_attempt_at TIMESTAMP WITH TIME ZONE,
    claim_token UUID,
    claim_expires_at TIMESTAMP WITH TIME ZONE,
    error_code TEXT,
    error_text TEXT,
    facts JSONB,
    fetched_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_source_domain PRIMARY KEY (domain)
);
COMMENT ON TABLE helix.source_domain IS 'Site facts of the rows'' source URLs, once a domain.';

CREATE TABLE helix.gate_lease (
    id UUID NOT NULL,
    key_hash BYTEA NOT NULL,
    class TEXT NOT NULL CONSTRAINT ck_gate_lease_class CHECK (class IN ('interactive', 'bulk')),
    breaker_generation BIGINT NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_gate_lease PRIMARY KEY (id),
    CONSTRAINT fk_gate_lease_key_hash FOREIGN KEY(key_hash) REFERENCES helix.gate (key_hash) ON DELETE CASCADE
);
CREATE INDEX ix_gate_lease_key_hash ON helix.gate_lease (key_hash);
COMMENT ON TABLE helix.gate_lease IS 'Requests in flight at an upstream key; a dead holder''s lease lapses.';

CREATE TABLE helix.phase_run (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    batch_id BIGINT NOT NULL,
    phase TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    state TEXT DEFAULT 'running' NOT NULL CONSTRAINT ck_phase_run_state CHECK (state IN ('running', 'done', 'failed')),
    error_code TEXT,
    error TEXT,
    CONSTRAINT pk_phase_run PRIMARY KEY (id),
    CONSTRAINT fk_phase_run_batch_id FOREIGN KEY(batch_id) REFERENCES helix.import_batch (id)
);
CREATE INDEX ix_phase_run_batch_id ON helix.phase_run (batch_id);
COMMENT ON TABLE helix.phase_run IS 'Every attempt at a phase of a batch, with its duration and failure.';

CREATE TABLE helix.source (
    id INTEGER GENERATED ALWAYS AS IDENTITY,
    collection_id INTEGER NOT NULL,
    name TEXT NOT NULL CONSTRAINT ck_source_name CHECK (name <> ''),
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_source PRIMARY KEY (id),
    CONSTRAINT uq_source_collection_id_name UNIQUE (collection_id, name),
    CONSTRAINT fk_source_collection_id FOREIGN KEY(collection_id) REFERENCES helix.collection (id)
);
COMMENT ON TABLE helix.source IS 'A logical file of a collection; its imports succeed each other.';

CREATE TABLE helix.import_job (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    batch_id BIGINT NOT NULL,
    arrival BIGINT GENERATED ALWAYS AS IDENTITY,
    source_id INTEGER NOT NULL,
    path TEXT NOT NULL,
    sha256 TEXT CONSTRAINT ck_import_job_sha256 CHECK (sha256 ~ '^[0-9a-f]{64}$'),
    bytes BIGINT,
    format TEXT,
    encoding TEXT,
    dialect JSONB,
    mapping JSONB DEFAULT '{}' NOT NULL,
    columns JSONB,
    mode TEXT NOT NULL CONSTRAINT ck_import_job_mode CHECK (mode IN ('append', 'sync')),
    state TEXT DEFAULT 'pending' NOT NULL CONSTRAINT ck_import_job_state CHECK (state IN ('pending', 'stored', 'parsed', 'completed', 'completed_with_quarantine', 'rejected', 'failed')),
    rows_read INTEGER DEFAULT '0' NOT NULL,
    inserted INTEGER DEFAULT '0' NOT NULL,
    updated INTEGER DEFAULT '0' NOT NULL,
    unchanged INTEGER DEFAULT '0' NOT NULL,
    duplicate INTEGER DEFAULT '0' NOT NULL,
    quarantined INTEGER DEFAULT '0' NOT NULL,
    pending INTEGER GENERATED ALWAYS AS (rows_read - inserted - updated - unchanged - duplicate - quarantined) STORED,
    conflicts INTEGER DEFAULT '0' NOT NULL,
    vanished INTEGER DEFAULT '0' NOT NULL,
    closed INTEGER DEFAULT '0' NOT NULL,
    error_code TEXT,
    error_message TEXT,
    reader_version TEXT,
    pipeline_version TEXT NOT NULL,
    same_as BIGINT,
    undone_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    finished_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_import_job PRIMARY KEY (id),
    CONSTRAINT ck_import_job_adds_up CHECK (pending >= 0),
    CONSTRAINT ck_import_job_completed_has_no_pending CHECK (state NOT LIKE 'completed%' OR pending = 0),
    CONSTRAINT fk_import_job_batch_id FOREIGN KEY(batch_id) REFERENCES helix.import_batch (id),
    CONSTRAINT uq_import_job_arrival UNIQUE (arrival),
    CONSTRAINT fk_import_job_source_id FOREIGN KEY(source_id) REFERENCES helix.source (id),
    CONSTRAINT fk_import_job_same_as FOREIGN KEY(same_as) REFERENCES helix.import_job (id)
);
CREATE INDEX ix_import_job_batch_id ON helix.import_job (batch_id);
CREATE INDEX ix_import_job_source_id_arrival ON helix.import_job (source_id, arrival);
COMMENT ON TABLE helix.import_job IS 'One file of a batch and what became of its rows.';

CREATE TABLE helix.api_usage (
    import_job_id BIGINT NOT NULL,
    service TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER DEFAULT '0' NOT NULL,
    texts INTEGER DEFAULT '0' NOT NULL,
    tokens BIGINT DEFAULT '0' NOT NULL,
    cost NUMERIC(18, 9) DEFAULT '0' NOT NULL,
    CONSTRAINT pk_api_usage PRIMARY KEY (import_job_id, service, model),
    CONSTRAINT fk_api_usage_import_job_id FOREIGN KEY(import_job_id) REFERENCES helix.import_job (id)
);
COMMENT ON TABLE helix.api_usage IS 'What an import paid for; texts found in the cache cost nothing and are not booked.';

CREATE TABLE helix.checkpoint (
    import_job_id BIGINT NOT NULL,
    phase TEXT NOT NULL,
    records BIGINT NOT NULL,
    chunk INTEGER NOT NULL,
    reader_version TEXT NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_checkpoint PRIMARY KEY (import_job_id, phase),
    CONSTRAINT fk_checkpoint_import_job_id FOREIGN KEY(import_job_id) REFERENCES helix.import_job (id)
);
COMMENT ON TABLE helix.checkpoint IS 'How far a phase of an import is, committed with the rows that it covers.';

CREATE TABLE helix.event (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    kind TEXT NOT NULL,
    batch_id BIGINT,
    import_job_id BIGINT,
    payload JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_event PRIMARY KEY (id),
    CONSTRAINT fk_event_batch_id FOREIGN KEY(batch_id) REFERENCES helix.import_batch (id),
    CONSTRAINT fk_event_import_job_id FOREIGN KEY(import_job_id) REFERENCES helix.import_job (id)
);
CREATE INDEX ix_event_batch_id ON helix.event (batch_id);
COMMENT ON TABLE helix.event IS 'Outbox: written in the transaction that makes it true.';

CREATE TABLE helix.inbox_file (
    path TEXT NOT NULL,
    bytes BIGINT NOT NULL,
    modified_ns BIGINT NOT NULL,
    seen_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    import_job_id BIGINT,
    CONSTRAINT pk_inbox_file PRIMARY KEY (path),
    CONSTRAINT fk_inbox_file_import_job_id FOREIGN KEY(import_job_id) REFERENCES helix.import_job (id)
);
COMMENT ON TABLE helix.inbox_file IS 'The inbox as last listed: a file is taken once it has kept size and time for the stable period.';
-- One list of allowed transitions, enforced for every writer.
INSERT INTO helix.batch_transition (from_state, to_state) VALUES
    ('queued', 'launched'), ('queued', 'running'), ('queued', 'paused'), ('queued', 'cancelled'), ('queued', 'error'),
    ('launched', 'running'), ('launched', 'queued'), ('launched', 'error'), ('launched', 'paused'),
    ('launched', 'cancelled'),
    ('running', 'done'), ('running', 'error'), ('running', 'paused'), ('running', 'deferred'), ('running', 'cancelled'),
    ('running', 'queued'),
    ('error', 'queued'), ('error', 'launched'), ('error', 'running'), ('error', 'cancelled'),
    ('paused', 'queued'), ('paused', 'launched'), ('paused', 'running'), ('paused', 'cancelled'),
    ('deferred', 'queued'), ('deferred', 'launched'), ('deferred', 'running'), ('deferred', 'cancelled'),
    ('deferred', 'paused'),
    ('done', 'queued'), ('done', 'launched'), ('done', 'running'),
    ('cancelled', 'queued');

CREATE FUNCTION helix.check_batch_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM helix.batch_transition t WHERE t.from_state = OLD.state AND t.to_state = NEW.state
    ) THEN
        RAISE EXCEPTION 'batch % cannot go from % to %', OLD.partition_key, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'batch_transition';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER check_transition BEFORE UPDATE OF state ON helix.import_batch
    FOR EACH ROW WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION helix.check_batch_transition();

-- Content of a pair never changes: a correction is another pair.
CREATE FUNCTION helix.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on helix.% is refused: %', TG_OP, TG_TABLE_NAME, TG_ARGV[0]
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER content_is_immutable
    BEFORE UPDATE OF collection_id, content_hash, question_key, question, answer ON helix.qa_pair
    FOR EACH ROW EXECUTE FUNCTION helix.refuse_change('the content of a pair is immutable');

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON helix.audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION helix.refuse_change('the audit log is append-only');

CREATE FUNCTION helix.actor() RETURNS text LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('helix.actor', true), ''), session_user)
$$;

-- Decision tables: one audit line a row, with the names of the columns that changed (never their values).
CREATE FUNCTION helix.audit_row() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before jsonb := CASE WHEN TG_OP = 'INSERT' THEN '{}' ELSE to_jsonb(OLD) END;
    after jsonb := CASE WHEN TG_OP = 'DELETE' THEN '{}' ELSE to_jsonb(NEW) END;
    names text[];
BEGIN
    SELECT coalesce(array_agg(key ORDER BY key), '{}') INTO names
    FROM jsonb_each(CASE WHEN TG_OP = 'DELETE' THEN before ELSE after END) AS line(key, value)
    WHERE before -> key IS DISTINCT FROM after -> key
      AND key <> ALL (TG_ARGV[0]::text[]);
    IF TG_OP = 'UPDATE' AND names = '{}' THEN
        RETURN NULL;
    END IF;
    INSERT INTO helix.audit_log (actor, table_name, action, row_count, keys, changed)
    VALUES (helix.actor(), TG_TABLE_NAME, lower(TG_OP), 1,
            jsonb_strip_nulls(jsonb_build_object(
                'id', coalesce(after, before) -> 'id', 'state', after -> 'state', 'status', after -> 'status')),
            names);
    RETURN NULL;
END $$;

CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON helix.import_batch
    FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{lease_expires_at,counters}');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OF state, undone_at OR DELETE ON helix.import_job
    FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{}');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OR DELETE ON helix.embedding_generation
    FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{}');
CREATE TRIGGER audit AFTER INSERT OR UPDATE OF requests_per_minute, tokens_per_minute, max_concurrency, message OR DELETE
    ON helix.gate FOR EACH ROW EXECUTE FUNCTION helix.audit_row('{requests_tat,tokens_tat}');

-- Bulk tables: one audit line a statement, with the count and the key range (row triggers cost +87 % on 100k rows).
CREATE FUNCTION helix.audit_pairs() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO helix.audit_log (actor, table_name, action, row_count, keys)
    SELECT helix.actor(), TG_TABLE_NAME, lower(TG_OP), count(*),
           jsonb_build_object('first_id', min(id), 'last_id', max(id))
    FROM touched HAVING count(*) > 0;
    RETURN NULL;
END $$;

CREATE FUNCTION helix.audit_ledger() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO helix.audit_log (actor, table_name, action, row_count, keys)
    SELECT helix.actor(), TG_TABLE_NAME, lower(TG_OP), count(*),
           jsonb_build_object('import', import_job_id, 'first_ordinal', min(ordinal), 'last_ordinal', max(ordinal))
    FROM touched GROUP BY import_job_id;
    RETURN NULL;
END $$;

CREATE TRIGGER audit_insert AFTER INSERT ON helix.qa_pair REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_pairs();
CREATE TRIGGER audit_update AFTER UPDATE ON helix.qa_pair REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_pairs();
CREATE TRIGGER audit_delete AFTER DELETE ON helix.qa_pair REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_pairs();
CREATE TRIGGER audit_insert AFTER INSERT ON helix.import_row REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();
CREATE TRIGGER audit_update AFTER UPDATE ON helix.import_row REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();
CREATE TRIGGER audit_delete AFTER DELETE ON helix.import_row REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();
CREATE TRIGGER audit_insert AFTER INSERT ON helix.occurrence REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();
CREATE TRIGGER audit_update AFTER UPDATE ON helix.occurrence REFERENCING NEW TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();
CREATE TRIGGER audit_delete AFTER DELETE ON helix.occurrence REFERENCING OLD TABLE AS touched
    FOR EACH STATEMENT EXECUTE FUNCTION helix.audit_ledger();

-- The stable read path for other applications: one row a searchable pair.
CREATE VIEW helix.knowledge_base AS
SELECT p.id AS pair_id,
       c.name AS collection,
       p.question,
       p.answer,
       p.language,
       s.category,
       s.url,
       s.stale,
       s.sources,
       p.created_at
FROM helix.qa_pair p
JOIN helix.collection c ON c.id = p.collection_id
CROSS JOIN LATERAL (
    SELECT min(o.category) AS category,
           min(o.url) AS url,
           bool_and(o.stale) AS stale,
           jsonb_agg(jsonb_build_object('source', src.name, 'path', j.path, 'sheet', o.sheet, 'row', o.row_number,
                                        'import', o.import_job_id)
                     ORDER BY o.import_job_id, o.ordinal) AS sources
    FROM helix.occurrence o
    JOIN helix.source src ON src.id = o.source_id
    JOIN helix.import_job j ON j.id = o.import_job_id
    WHERE o.served_pair_id = p.id
    HAVING count(*) > 0
) s;
COMMENT ON VIEW helix.knowledge_base IS 'Every searchable pair with the rows that it comes from.';
