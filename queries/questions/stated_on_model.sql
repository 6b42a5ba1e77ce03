-- Stated rules that the model bears out, surest first: planted they fire the feature, broken they silence it.
-- Group: rules
-- Needs: stated_tests
-- $limit = 20: how many
-- $verdict = "%": part of the verdict, such as %sufficient% or not confirmed
-- fires_share is of neutral contexts in which the rule was planted, least_loss the share of the activation that is lost when an
-- atom is broken; the columns beside them are what neutral changes do.
SELECT
    format('{}.{}', head_label(s.layer, s.head), s.feature) AS feature,
    s.rank,
    s.statement,
    s.verdict,
    round(r.precision, 3) AS precision,
    round(s.fires_share, 3) AS fires_share,
    round(s.control_fires_share, 3) AS control_fires_share,
    s.n_planted,
    round(s.least_loss, 3) AS least_loss,
    round(s.largest_control_loss, 3) AS largest_control_loss,
    s.n_atoms_tested,
    s.planted_status,
    s.broken_status
FROM stated_summary AS s
INNER JOIN methods AS m ON m.match_score = 'holds'
LEFT JOIN rule_readings AS r
    ON
        s.layer = r.layer AND s.head = r.head AND s.feature = r.feature AND s.rank = r.rank AND m.method = r.method
        AND r.split = 'test'
WHERE s.verdict <> 'not tested' AND s.verdict LIKE $verdict
ORDER BY
    s.is_sufficient AND s.is_necessary DESC, s.is_sufficient DESC, s.is_necessary DESC, s.fires_excess_low DESC NULLS LAST,
    s.layer ASC, s.head ASC, s.feature ASC, s.rank ASC
LIMIT $limit;
