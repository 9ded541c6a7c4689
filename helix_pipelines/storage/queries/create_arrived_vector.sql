-- Where COPY puts vectors before they become those of their texts; one a connection.
CREATE TEMP TABLE IF NOT EXISTS arrived_vector (text_hash uuid, vector halfvec, tokens integer) ON COMMIT DELETE ROWS
