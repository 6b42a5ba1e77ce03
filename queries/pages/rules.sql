-- Grain: a row of one of the first eight rules of a list of a feature of a page, in words.
-- Reads: rule_texts
SELECT
    feature,
    method,
    scaling,
    rank,
    through_head,
    key_description,
    query_description,
    value_score,
    attn_score
FROM rule_texts
WHERE
    layer = $layer AND head = $head AND rank <= 8
    AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
ORDER BY ALL;
