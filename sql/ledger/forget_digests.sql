-- Grain of the deletion: a digest of a table. NULL stands for any chunk, run, layer, head or feature, an empty part for any
-- part.
-- Writes: digests
DELETE FROM digests
WHERE
    list_contains($tables, table_name)
    AND $part IN ('', part)
    AND ($chunk_id IS NULL OR chunk_id = $chunk_id)
    AND ($run_id IS NULL OR run_id = $run_id)
    AND ($layer IS NULL OR layer = $layer)
    AND ($head IS NULL OR head = $head)
    AND ($features IS NULL OR list_contains($features, feature));
