-- Absence rules that intervention confirms most strongly.
-- $limit = 20: how many
SELECT
    format('L{}H{}.{}', layer, head, feature) AS feature,
    pair,
    key_description AS key,
    distractor_description AS distractor,
    query_description AS query,
    round(distractor_activations[1], 3) AS activation,
    round(fall, 3) AS fall,
    round(control_fall, 3) AS control_fall,
    round(excess_share, 3) AS excess_share,
    round(excess_low, 3) AS excess_low,
    round(excess_high, 3) AS excess_high,
    n_examples
FROM absence_summary
WHERE confirmed
ORDER BY excess_share DESC, layer ASC, head ASC, absence_summary.feature ASC, pair ASC
LIMIT $limit;
