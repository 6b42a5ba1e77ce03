-- Absence rules that intervention confirms most certainly, with what chance would confirm of like cases.
-- Group: rules
-- Needs: absence_tests
-- $limit = 20: how many
-- $min_examples = 10: fewest sequences in which the tokens were inserted
-- excess_low is the lower end of the interval of the fall beyond that of neutral tokens, ranked as a share of the activation.
-- by_chance is the share of the confirmed among like cases that neutral tokens would make up, were they tested instead.
SELECT
    format('{}.{}', head_label(a.layer, a.head), a.feature) AS feature,
    a.pair,
    a.key_description AS key,
    a.distractor_description AS distractor,
    a.query_description AS query,
    n.says,
    n.evidence,
    round(a.distractor_activations[1], 3) AS activation,
    round(a.fall, 3) AS fall,
    round(a.control_fall, 3) AS control_fall,
    round(a.excess_share, 3) AS excess_share,
    round(a.excess_low, 3) AS excess_low,
    round(a.excess_high, 3) AS excess_high,
    a.n_examples,
    round(a.excess_low / nullif(a.distractor_activations[1], 0), 3) AS excess_low_share,
    a.corpus_evidence,
    round(a.confirmed_share, 3) AS confirmed_share,
    round(a.chance_share, 3) AS chance_share,
    round(least(1, a.chance_share / a.confirmed_share), 2) AS by_chance,
    a.through_head
FROM absence_summary AS a
LEFT JOIN rule_right_sides AS n ON a.layer = n.layer AND a.head = n.head AND a.feature = n.feature
WHERE a.confirmed AND a.n_examples >= $min_examples
ORDER BY
    a.excess_low / nullif(a.distractor_activations[1], 0) DESC NULLS LAST, a.layer ASC, a.head ASC, a.feature ASC,
    a.pair ASC
LIMIT $limit;
