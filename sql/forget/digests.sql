-- Grain of the deletion: a digest of the head, or the layer (-1), whose output SAE is replaced; what does not come from the SAE stays.
-- Writes: digests
DELETE FROM digests
WHERE
    layer = $layer
    AND head = $head
    AND table_name NOT IN ('attention_sources', 'heads', 'projections');
