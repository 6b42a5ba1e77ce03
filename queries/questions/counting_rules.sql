-- Counting rules that tell most beyond presence and position, on held-out sequences and on the grid of insertions.
-- Group: rules
-- Needs: counting_rules
-- $limit = 20: how many
SELECT
    format('{}.{}', head_label(c.layer, c.head), c.feature) AS feature,
    c.pair,
    c.key_description AS key,
    c.opponent_description AS opponent,
    c.query_description AS query,
    n.says,
    n.evidence,
    format('{} c - {} c2 >= {}', c.key_weight, c.opponent_weight, c.threshold) AS rule,
    round(c.f1, 3) AS f1,
    round(c.presence_f1, 3) AS presence_f1,
    round(c.information_gain, 4) AS information_gain,
    round(c.gain_low, 4) AS gain_low,
    c.position_side || ' ' || c.position_threshold AS position_rule,
    round(c.position_f1, 3) AS position_f1,
    round(c.position_gain_low, 4) AS position_gain_low,
    c.status,
    round(c.agreement, 3) AS agreement,
    round(c.presence_agreement, 3) AS presence_agreement,
    round(c.grid_information_gain, 4) AS grid_information_gain,
    round(c.excess_active, 3) AS excess_active,
    c.confirmed,
    c.through_head
FROM counting_summary AS c
LEFT JOIN rule_right_sides AS n ON c.layer = n.layer AND c.head = n.head AND c.feature = n.feature
ORDER BY c.confirmed DESC, c.information_gain DESC, c.layer ASC, c.head ASC, c.feature ASC, c.pair ASC
LIMIT $limit;
