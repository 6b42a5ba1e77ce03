-- Grain of the deletion: a digest of a table; of these features, or of all where $features is NULL. -1 stands for any chunk,
-- run, layer or head, an empty part for any part.
-- Writes: digests
DELETE FROM digests
WHERE
    list_contains($tables, table_name)
    AND $part IN ('', part)
    AND $chunk_id IN (-1, chunk_id)
    AND $run_id IN (-1, run_id)
    AND $layer IN (-1, layer)
    AND $head IN (-1, head)
    AND ($features IS NULL OR list_contains($features, feature));
