-- Grain: a stated rule of a list that is judged, numbered by `rule`.
-- Reads: judged_lists, stated_rules
-- Makes: read_rules
CREATE OR REPLACE TEMP TABLE read_rules AS
SELECT
    (row_number() OVER (ORDER BY l.feature, r.rank) - 1)::INTEGER AS rule,
    l.scope,
    r.layer,
    r.head,
    r.feature,
    l.method,
    l.scaling,
    TRUE AS is_stated,
    r.rank,
    r.weight,
    r.prior
FROM judged_lists AS l
INNER JOIN stated_rules AS r ON r.layer = $layer AND r.head = $head AND l.feature = r.feature AND l.n_rules >= r.rank
WHERE l.match_score = 'holds';
