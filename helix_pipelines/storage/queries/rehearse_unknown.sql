-- The same names where there is no schema yet: every row is new.
CREATE TEMPORARY TABLE known_collection (id INTEGER, name TEXT);
CREATE TEMPORARY TABLE known_source (id INTEGER, collection_id INTEGER, name TEXT);
CREATE TEMPORARY TABLE known_import (
    id BIGINT, arrival BIGINT, source_id INTEGER, state TEXT, sha256 TEXT, encoding TEXT, mapping JSONB, sheets JSONB, mode TEXT,
    pipeline_version TEXT, undone_at TIMESTAMP WITH TIME ZONE, replay_of BIGINT, same_as BIGINT, rows_read INTEGER,
    quarantined INTEGER, notes JSONB
);
CREATE TEMPORARY TABLE known_row (
    import_job_id BIGINT, ordinal INTEGER, row_number INTEGER, sheet TEXT, row_key BIGINT, pair_id BIGINT, decision TEXT, code TEXT,
    reason TEXT, replayed_by BIGINT
);
CREATE TEMPORARY TABLE known_content (import_job_id BIGINT, ordinal INTEGER, raw JSONB);
CREATE TEMPORARY TABLE known_occurrence (
    source_id INTEGER, row_key BIGINT, collection_id INTEGER, pair_id BIGINT, served_pair_id BIGINT, content_hash UUID,
    question_key UUID, external_key UUID
);
CREATE TEMPORARY TABLE known_pair (
    id BIGINT, collection_id INTEGER, content_hash UUID, question_key UUID, question TEXT, answer TEXT
);
CREATE TEMPORARY TABLE known_passage (pair_id BIGINT, recipe TEXT, text_hash UUID, body TEXT);
CREATE TEMPORARY TABLE known_embedding (generation_id INTEGER, text_hash UUID, state TEXT);
