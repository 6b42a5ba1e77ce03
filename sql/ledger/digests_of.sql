-- Grain: a digest of a part of a table.
-- Reads: digests
SELECT
    chunk_id,
    run_id,
    layer,
    head,
    feature,
    n_rows,
    digest
FROM digests
WHERE table_name = $table AND part = $part;
