-- Grain: a rule of one output feature, with both sides described.
CREATE MACRO rules_of(of_layer, of_head, of_feature) AS TABLE
WITH given (layer, head, feature) AS (SELECT of_layer, of_head, of_feature)

SELECT
    r.method,
    r.scaling,
    r.rank,
    r.key_feature,
    r.key_description,
    r.query_feature,
    r.query_description,
    r.attn_score,
    r.value_score,
    r.score,
    r.attn_distance,
    r.says,
    r.evidence,
    r.through_head
FROM given AS g
INNER JOIN main.rule_texts AS r ON g.layer = r.layer AND g.head = r.head AND g.feature = r.feature
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::VARCHAR AS method
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY method, scaling, rank;
COMMENT ON MACRO TABLE rules_of IS 'Rules of one output feature; head -1 for a feature of an SAE over the whole layer: FROM rules_of(layer, head, feature)';
