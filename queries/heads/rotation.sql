-- Grain: one head, with how its queries and keys are turned; NULL where the model turns nothing or it is not known.
-- Reads: heads, model, rotations
SELECT
    coalesce(m.positional_embedding = 'rotary', FALSE) AS is_rotary,
    r.frequencies,
    r.pairing,
    r.magnitude
FROM heads AS h
LEFT JOIN model AS m ON TRUE
LEFT JOIN rotations AS r ON h.layer = r.layer AND h.head = r.head
WHERE h.layer = $layer AND h.head = $head;
