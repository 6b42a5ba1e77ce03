-- Grain: the warehouse, where rules by importance may have learned from sequences that they are judged on.
SELECT
    format(
        'whether the rules by importance of {} features saw sequences that all_positions judges them on, as in versions'
        || ' before schema version 3; attnrules mine skipgrams --method importance finds them anew',
        count(*)
    ) AS words
FROM (
    SELECT DISTINCT
        layer,
        head,
        feature
    FROM rules
    WHERE method = 'importance'
) AS learned
HAVING count(*) > 0;
