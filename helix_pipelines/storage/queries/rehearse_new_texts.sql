-- Passages of the pairs that a file would bring, in portions as an import looks for them.
INSERT INTO rehearsed_need (file, portion, text_hash, tokens)
SELECT t.file, (t.ordinal - 1) / %(portion_rows)s, t.text_hash, t.tokens
FROM rehearsed_pair p
JOIN rehearsed_text t ON t.file = p.file AND t.ordinal = p.ordinal
WHERE p.file = %(file)s
