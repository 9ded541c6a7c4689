-- Everything that makes up schema helix, one line an object, for comparing two states of a schema.
SELECT format('column %s.%s %s%s default %s', c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
              CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
              coalesce(pg_get_expr(d.adbin, d.adrelid), 'identity ' || nullif(a.attidentity::text, ''), '-')) AS line
FROM pg_class c
JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relnamespace = 'helix'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm')
UNION ALL
SELECT format('constraint %s.%s %s', c.relname, con.conname, pg_get_constraintdef(con.oid))
FROM pg_constraint con JOIN pg_class c ON c.oid = con.conrelid
WHERE con.connamespace = 'helix'::regnamespace AND con.contype <> 'n' -- NOT NULL is with the columns, its name is chance
UNION ALL
SELECT format('index %s', pg_get_indexdef(c.oid))
FROM pg_class c WHERE c.relnamespace = 'helix'::regnamespace AND c.relkind IN ('i', 'I')
UNION ALL
SELECT format('trigger %s', pg_get_triggerdef(t.oid))
FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid
WHERE c.relnamespace = 'helix'::regnamespace AND NOT t.tgisinternal
UNION ALL
SELECT format('function %s', pg_get_functiondef(p.oid))
FROM pg_proc p WHERE p.pronamespace = 'helix'::regnamespace
UNION ALL
SELECT format('view %s %s', c.relname, pg_get_viewdef(c.oid))
FROM pg_class c WHERE c.relnamespace = 'helix'::regnamespace AND c.relkind IN ('v', 'm')
UNION ALL
SELECT format('sequence %s', c.relname)
FROM pg_class c WHERE c.relnamespace = 'helix'::regnamespace AND c.relkind = 'S'
UNION ALL
SELECT format('comment %s.%s %s', c.relname, d.objsubid, d.description)
FROM pg_description d JOIN pg_class c ON c.oid = d.objoid AND d.classoid = 'pg_class'::regclass
WHERE c.relnamespace = 'helix'::regnamespace
ORDER BY line;
