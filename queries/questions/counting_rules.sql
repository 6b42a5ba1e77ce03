-- Counting rules that tell most beyond presence and position, on held-out sequences and on the grid of insertions.
-- $limit = 20: how many
SELECT
    format('{}.{}', head_label(layer, head), feature) AS feature,
    pair,
    key_description AS key,
    opponent_description AS opponent,
    query_description AS query,
    format('{} c - {} c2 >= {}', key_weight, opponent_weight, threshold) AS rule,
    round(f1, 3) AS f1,
    round(presence_f1, 3) AS presence_f1,
    round(information_gain, 4) AS information_gain,
    round(gain_low, 4) AS gain_low,
    position_side || ' ' || position_threshold AS position_rule,
    round(position_f1, 3) AS position_f1,
    round(position_gain_low, 4) AS position_gain_low,
    status,
    round(agreement, 3) AS agreement,
    round(presence_agreement, 3) AS presence_agreement,
    round(grid_information_gain, 4) AS grid_information_gain,
    round(excess_active, 3) AS excess_active,
    confirmed
FROM counting_summary
ORDER BY confirmed DESC, information_gain DESC, layer ASC, head ASC, counting_summary.feature ASC, pair ASC
LIMIT $limit;
