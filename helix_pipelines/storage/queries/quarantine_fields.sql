-- The names of the fields of listed rows that play no role, the most frequent first; the list stands in the braces.
SELECT field.name
FROM ({rows}) AS listed
CROSS JOIN LATERAL jsonb_object_keys(
    CASE WHEN jsonb_typeof(listed.raw) = 'object' THEN listed.raw ELSE coalesce(listed.extra, '{{}}') END
) AS field(name)
WHERE NOT EXISTS (SELECT FROM jsonb_each_text(listed.columns) AS role(name, label) WHERE role.label = field.name)
GROUP BY field.name
ORDER BY count(*) DESC, field.name
