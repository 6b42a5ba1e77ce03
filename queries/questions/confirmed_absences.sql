-- Absence rules that intervention confirms most certainly, with what chance would confirm of like cases.
-- $limit = 20: how many
-- $min_examples = 10: fewest sequences in which the tokens were inserted
-- excess_low is the lower end of the interval of the fall beyond that of neutral tokens, ranked as a share of the activation.
-- by_chance is the share of the confirmed among like cases that neutral tokens would make up, were they tested instead.
SELECT
    format('{}.{}', head_label(layer, head), feature) AS feature,
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
    n_examples,
    round(excess_low / nullif(distractor_activations[1], 0), 3) AS excess_low_share,
    corpus_evidence,
    round(confirmed_share, 3) AS confirmed_share,
    round(chance_share, 3) AS chance_share,
    round(least(1, chance_share / confirmed_share), 2) AS by_chance
FROM absence_summary
WHERE confirmed AND n_examples >= $min_examples
ORDER BY
    excess_low / nullif(distractor_activations[1], 0) DESC NULLS LAST, layer ASC, head ASC, absence_summary.feature ASC,
    pair ASC
LIMIT $limit;
