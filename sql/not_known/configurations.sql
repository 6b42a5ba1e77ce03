-- Grain: the warehouse, where the configuration of its model or of an SAE was not recorded.
SELECT
    format(
        'how the model and {} SAEs are configured (identity, configuration, reconstruction error): they are compared by their'
        || ' weights alone, and the scores are those of the raw weights, which differ from the effective ones where an SAE'
        || ' rescales, is gated or normalises what it reads; ingest into a new file to have it recorded',
        count(*)
    ) AS words
FROM saes
WHERE configuration IS NULL
HAVING count(*) > 0;
