-- The id of a source by its collection and name, both made where they are new. The no-op update returns the id of an old one.
WITH named AS (
    INSERT INTO helix.collection (name) VALUES (%(collection)s)
    ON CONFLICT (name) DO UPDATE SET name = EXCLUDED.name
    RETURNING id
)
INSERT INTO helix.source (collection_id, name)
SELECT id, %(source)s FROM named
ON CONFLICT (collection_id, name) DO UPDATE SET name = EXCLUDED.name
RETURNING id
