-- How common absence rules are, by layer and head: a distractor key by weight, and confirmed by intervention.
-- Group: rules
-- Needs: distractors
-- $scaling = "paper": one of paper, model
SELECT
    d.layer,
    d.head,
    count(*) AS n_features,
    count(*) FILTER (WHERE d.has_distractor_key) AS n_distractor_key,
    round(avg(d.has_distractor_key::DOUBLE), 3) AS share_distractor_key,
    count(*) FILTER (WHERE t.status = 'tested') AS n_tested,
    count(*) FILTER (WHERE t.confirmed) AS n_confirmed,
    round(avg(t.confirmed::DOUBLE) FILTER (WHERE t.status = 'tested'), 3) AS share_confirmed,
    round(avg(t.chance_confirmed), 3) AS share_confirmed_by_chance
FROM distractors AS d
LEFT JOIN absence_tests AS t USING (layer, head, feature, scaling, pair)
WHERE d.pair = 1 AND d.scaling = $scaling
GROUP BY d.layer, d.head
ORDER BY d.layer, d.head;
