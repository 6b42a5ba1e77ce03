-- Stated rules that are most precise where they are read: on test positions, with interval, support and lift.
-- Group: rules
-- Needs: stated_rules
-- $layer = null: one layer, or all
-- $head = null: one head, or all
-- $feature = null: one feature, or all
-- $min_matches = 20: fewest test positions at which the rule holds
-- $min_precision = 0.0: least precision there, such as 0.8
-- $limit = 20: number of rules
WITH named AS (
    SELECT DISTINCT
        a.layer,
        a.head,
        a.feature,
        a.rank,
        i.layer AS input_layer,
        i.feature AS input_feature,
        i.description
    FROM stated_atoms AS a
    INNER JOIN input_features AS i ON a.kind = 'feature' AND a.member_layer = i.layer AND a.member = i.feature
),

inputs AS (
    SELECT
        layer,
        head,
        feature,
        rank,
        string_agg(
            format('L{}.i{}: {}', input_layer, input_feature, coalesce(description, 'never fires')), '; '
            ORDER BY input_layer, input_feature
        ) AS words
    FROM named
    GROUP BY layer, head, feature, rank
)

SELECT
    format('{}.{}', head_label(s.layer, s.head), s.feature) AS feature,
    s.rank,
    s.statement,
    n.says,
    round(r.precision, 3) AS precision,
    round(r.precision_low, 3) AS precision_low,
    round(r.precision_high, 3) AS precision_high,
    round(r.recall, 3) AS recall,
    round(r.lift, 1) AS lift,
    r.n_hits,
    r.n_matches,
    i.words AS input_features
FROM stated_rules AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
INNER JOIN rule_readings AS r
    ON
        s.layer = r.layer AND s.head = r.head AND s.feature = r.feature
        AND s.rank = r.rank AND m.method = r.method AND r.split = 'test'
LEFT JOIN rule_right_sides AS n ON s.layer = n.layer AND s.head = n.head AND s.feature = n.feature
LEFT JOIN inputs AS i ON s.layer = i.layer AND s.head = i.head AND s.feature = i.feature AND s.rank = i.rank
WHERE
    r.n_matches >= $min_matches AND coalesce(r.precision, 0) >= $min_precision
    AND s.layer = coalesce($layer::INTEGER, s.layer)
    AND s.head = coalesce($head::INTEGER, s.head)
    AND s.feature = coalesce($feature::INTEGER, s.feature)
ORDER BY r.precision_low DESC, r.recall DESC, s.layer ASC, s.head ASC, s.feature ASC, s.rank ASC
LIMIT $limit;
