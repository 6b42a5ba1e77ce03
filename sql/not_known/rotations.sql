-- Grain: the warehouse, where it is not stored how the rotary positions of its model turn keys and queries.
SELECT
    format(
        'how positions turn the keys and queries of {} heads: without it S(i,j) is known at distance 0 alone, and magnitude,'
        || ' importance, absence and counting rules cannot be mined; attnrules ingest with the options of before stores it',
        count(*)
    ) AS words
FROM heads AS h
CROSS JOIN model AS m
ANTI JOIN rotations AS r ON h.layer = r.layer AND h.head = r.head
WHERE m.positional_embedding = 'rotary'
HAVING count(*) > 0;
