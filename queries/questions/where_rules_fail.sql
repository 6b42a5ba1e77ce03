-- Where rules fail, in context: false alarms and misses of a list on the test positions that it was judged on.
-- Group: one feature
-- Needs: rule_evaluations
-- $layer = null: layer of the feature; of the first that was judged so, where layer, head and feature are null
-- $head = null: head of the feature
-- $feature = null: the output feature
-- $method = "weighted_groups": weighted, weighted_signed, weighted_groups, weighted_gates, weighted_pairs or stated
-- $n_rules = 16: length of the list, one that was judged
-- $outcome = "all": one of all, hit, miss, false alarm
-- $limit = 20: positions of each kind, the most certain predictions and the strongest activations first
WITH asked AS (
    SELECT
        coalesce($layer::INTEGER, e.layer) AS layer,
        coalesce($head::INTEGER, e.head) AS head,
        coalesce($feature::INTEGER, e.feature) AS feature
    FROM (SELECT 1 AS one) AS o
    LEFT JOIN (
        SELECT
            layer,
            head,
            feature
        FROM rule_evaluations
        WHERE
            method = $method AND n_rules = $n_rules AND example_set = 'all_positions'
            AND layer = coalesce($layer::INTEGER, layer) AND head = coalesce($head::INTEGER, head)
        ORDER BY layer, head, feature
        LIMIT 1
    ) AS e ON TRUE
),

chosen AS MATERIALIZED (
    -- The list goes in as single values: asked row by row the macro takes ten times as long.
    FROM
        held_out_outcomes(
            (SELECT layer FROM asked), (SELECT head FROM asked), (SELECT feature FROM asked), $method, $n_rules
        )
    WHERE $outcome IN (outcome, 'all')
    QUALIFY
        row_number() OVER (
            PARTITION BY outcome ORDER BY coalesce(activation, prediction) DESC, seq_id ASC, pos ASC
        ) <= $limit
)

SELECT
    (SELECT format('{}.{}', head_label(a.layer, a.head), a.feature) FROM asked AS a) AS feature,
    o.outcome,
    round(o.activation, 3) AS activation,
    round(o.prediction, 4) AS prediction,
    round(o.threshold, 4) AS threshold,
    o.seq_id,
    o.pos,
    c.before,
    c.token,
    c.after
FROM chosen AS o
CROSS JOIN LATERAL (FROM context_at(o.seq_id, o.pos)) AS c
ORDER BY o.outcome ASC, coalesce(o.activation, o.prediction) DESC, o.seq_id ASC, o.pos ASC;
