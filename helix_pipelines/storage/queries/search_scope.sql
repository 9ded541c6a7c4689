-- How many served rows a scope has, counted up to a bound.
SELECT count(*)
FROM (
    SELECT
    FROM helix.occurrence o
    WHERE {served}
    LIMIT %(bound)s
) row
