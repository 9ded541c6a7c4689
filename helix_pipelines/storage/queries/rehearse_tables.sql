-- What a rehearsal writes: tables of its own session, in which the files of a command and what they would change stand side by side.
-- Sources and collections that do not exist yet have negative ids; `file` counts the files in the order in which they would arrive.
CREATE TEMPORARY TABLE rehearsed_row (
    file INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    row_number INTEGER NOT NULL,
    sheet TEXT,
    row_key BIGINT,
    decision TEXT NOT NULL,
    code TEXT,
    reason TEXT,
    content_hash UUID,
    question_key UUID,
    external_key UUID,
    PRIMARY KEY (file, ordinal)
);
-- Refused records, to tell those that were corrected when an earlier import had them.
CREATE TEMPORARY TABLE rehearsed_refusal (
    file INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    raw JSONB,
    PRIMARY KEY (file, ordinal)
);
CREATE TEMPORARY TABLE rehearsed_source (
    source_id INTEGER PRIMARY KEY
);
-- The rows of those sources as they would be after the files so far. Pairs are named by their content, as new ones have no id.
CREATE TEMPORARY TABLE rehearsed_occurrence (
    source_id INTEGER NOT NULL,
    row_key BIGINT NOT NULL,
    collection_id INTEGER NOT NULL,
    content_hash UUID NOT NULL,
    served_hash UUID,
    question_key UUID NOT NULL,
    external_key UUID,
    file INTEGER,
    PRIMARY KEY (source_id, row_key)
);
CREATE INDEX ON rehearsed_occurrence (collection_id, question_key, content_hash);
CREATE INDEX ON rehearsed_occurrence (collection_id, served_hash) WHERE served_hash <> content_hash;
-- Pairs that would be new, and the row whose texts they would have.
CREATE TEMPORARY TABLE rehearsed_pair (
    collection_id INTEGER NOT NULL,
    content_hash UUID NOT NULL,
    file INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    PRIMARY KEY (collection_id, content_hash)
);
CREATE INDEX ON rehearsed_pair (file);
-- Passages of the rows, and of those what would have to be embedded, in the portions in which an import takes them up.
CREATE TEMPORARY TABLE rehearsed_text (
    file INTEGER NOT NULL,
    ordinal INTEGER NOT NULL,
    text_hash UUID NOT NULL,
    tokens INTEGER NOT NULL
);
CREATE INDEX ON rehearsed_text (file, ordinal);
CREATE TEMPORARY TABLE rehearsed_need (
    file INTEGER NOT NULL,
    portion INTEGER NOT NULL,
    text_hash UUID NOT NULL,
    tokens INTEGER NOT NULL
);
