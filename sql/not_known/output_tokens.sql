-- Grain: the warehouse, where what output features make the model say was not read off the weights.
SELECT
    format(
        'what the features of {} heads make the model say, by their weights; the same attnrules ingest again adds it, without'
        || ' running the corpus again',
        count(*)
    ) AS words
FROM heads AS h
ANTI JOIN output_effects AS e ON h.layer = e.layer AND h.head = e.head
WHERE NOT EXISTS (SELECT 1 FROM unembedding WHERE status <> 'usable')
HAVING count(*) > 0;
