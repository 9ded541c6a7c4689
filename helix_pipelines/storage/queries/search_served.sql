-- Whether the row `o` is served and in the scope of the search; a part of the other statements.
o.served_pair_id IS NOT NULL
      AND (%(sources)s::int[] IS NULL OR o.source_id = ANY(%(sources)s::int[]))
      AND (%(category)s::text IS NULL OR o.category = %(category)s)
      AND (%(language)s::text IS NULL OR EXISTS (
          SELECT FROM helix.qa_pair q WHERE q.id = o.served_pair_id AND q.language = %(language)s))
