-- Grain: the warehouse, where rules of a model with rotary positions were found by S at distance 0.
SELECT
    format(
        'at which distance the pairs of {} features attend: their magnitude, importance and absence rules were found by S at'
        || ' distance 0; attnrules mine skipgrams and attnrules mine absence find them anew',
        count(*)
    ) AS words
FROM (
    SELECT
        layer,
        head,
        feature
    FROM rules
    WHERE method IN ('magnitude', 'importance') AND attn_distance IS NULL
    UNION
    SELECT
        layer,
        head,
        feature
    FROM distractors
    WHERE attn_distance IS NULL
) AS found
CROSS JOIN model AS m
WHERE m.positional_embedding = 'rotary'
HAVING count(*) > 0;
