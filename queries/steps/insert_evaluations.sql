-- Grain: the first n rules of a mined feature under a method: every list stored, judged anew.
INSERT INTO rule_evaluations BY NAME
WITH lists AS (
    SELECT
        r.layer,
        r.head,
        r.feature,
        r.method,
        r.scaling,
        count(*) AS n_found
    FROM rules AS r
    SEMI JOIN mined_features AS f ON r.feature = f.feature
    WHERE r.layer = $layer AND r.head = $head
    GROUP BY r.layer, r.head, r.feature, r.method, r.scaling
)

SELECT
    l.layer,
    l.head,
    l.feature,
    l.method,
    l.scaling,
    'paper' AS example_set,
    g.n_rules,
    least(g.n_rules, l.n_found) AS n_rules_used,
    $run_id AS run_id
FROM lists AS l
CROSS JOIN (SELECT unnest($grid::UINTEGER[]) AS n_rules) AS g;
