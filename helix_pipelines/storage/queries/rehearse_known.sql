-- What a rehearsal reads, under names that stand for nothing in a database without the schema (rehearse_unknown).
CREATE TEMPORARY VIEW known_collection AS SELECT id, name FROM helix.collection;
CREATE TEMPORARY VIEW known_source AS SELECT id, collection_id, name FROM helix.source;
CREATE TEMPORARY VIEW known_import AS
    SELECT id, arrival, source_id, state, sha256, encoding, mapping, sheets, mode, pipeline_version, undone_at, replay_of, same_as,
           rows_read, quarantined, notes
    FROM helix.import_job;
CREATE TEMPORARY VIEW known_row AS
    SELECT import_job_id, ordinal, row_number, sheet, row_key, pair_id, decision, code, reason, replayed_by FROM helix.import_row;
CREATE TEMPORARY VIEW known_content AS SELECT import_job_id, ordinal, raw FROM helix.row_content;
CREATE TEMPORARY VIEW known_occurrence AS
    SELECT source_id, row_key, collection_id, pair_id, served_pair_id, content_hash, question_key, external_key FROM helix.occurrence;
CREATE TEMPORARY VIEW known_pair AS
    SELECT id, collection_id, content_hash, question_key, question, answer FROM helix.qa_pair;
CREATE TEMPORARY VIEW known_passage AS SELECT pair_id, recipe, text_hash, body FROM helix.passage;
CREATE TEMPORARY VIEW known_embedding AS SELECT generation_id, text_hash, state FROM helix.embedding;
