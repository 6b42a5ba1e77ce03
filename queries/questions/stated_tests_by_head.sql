-- How many stated rules the model bears out, by layer and head, and how many chance would.
-- Group: rules
-- Needs: stated_tests
-- $rank = 1: the rule of each feature that is counted, 1 for the first
-- by_chance is the share of controls that would be confirmed in the place of a rule, or of an atom.
SELECT
    t.layer,
    t.head,
    t.kind,
    count(*) AS n_tests,
    count(*) FILTER (WHERE t.status = 'tested') AS n_tested,
    count(*) FILTER (WHERE t.confirmed) AS n_confirmed,
    round(avg(t.confirmed::DOUBLE) FILTER (WHERE t.status = 'tested'), 3) AS share_confirmed,
    round(avg(t.chance_confirmed), 3) AS share_confirmed_by_chance,
    round(avg(t.share), 3) AS mean_share,
    round(avg(t.control_share), 3) AS mean_control_share
FROM stated_tests AS t
WHERE t.rank = $rank
GROUP BY t.layer, t.head, t.kind
ORDER BY t.layer, t.head, t.kind;
