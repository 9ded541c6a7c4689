-- What would be sent, once each and in an import's order: neither texts that have a vector nor those that were refused before.
WITH needed AS (
    SELECT DISTINCT ON (text_hash) text_hash, file, portion, tokens
    FROM rehearsed_need
    ORDER BY text_hash, file, portion
)
SELECT n.file, n.portion, n.tokens
FROM needed n
WHERE NOT EXISTS (SELECT FROM known_embedding e
                  WHERE e.generation_id = %(generation)s AND e.text_hash = n.text_hash AND e.state <> 'pending')
ORDER BY n.file, n.portion, n.text_hash
