-- Grain: the warehouse, where what output features make the model say was not read off the weights.
SELECT
    format(
        'what the features of {} output SAEs make the model say, by their weights; the same attnrules ingest again adds it,'
        || ' without running the corpus again',
        count(*)
    ) AS words
FROM saes AS s
ANTI JOIN output_effects AS e ON s.layer = e.layer AND s.head = e.head
WHERE s.role = 'output' AND NOT EXISTS (SELECT 1 FROM unembedding WHERE status <> 'usable')
HAVING count(*) > 0;
