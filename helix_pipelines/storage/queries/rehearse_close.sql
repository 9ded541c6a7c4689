-- As close_vanished: `sync` would close the earlier rows that the file no longer has, but for those corrected before.
DELETE FROM rehearsed_occurrence o
WHERE o.source_id = %(source)s AND o.file IS DISTINCT FROM %(file)s
  AND NOT EXISTS (SELECT FROM rehearsed_row q
                  WHERE q.file = %(file)s AND q.decision = 'quarantine' AND q.row_key = o.row_key)
