-- Output features that are active at a token more often than anywhere.
-- Group: tokens and text
-- $token = " the": the token, its space included
-- $limit = 20: number of features
-- The lift is that of output_feature_tokens, which counts every token and takes longer: both shares pulled together by 20
-- positions at which the feature is active as often as anywhere.
WITH places AS MATERIALIZED (
    SELECT
        t.seq_id,
        t.pos,
        count(*) OVER () AS n_positions
    FROM tokens AS t
    WHERE t.token_id IN (SELECT v.token_id FROM vocabulary AS v WHERE v.token = $token)
),

active AS (
    SELECT
        a.layer,
        a.head,
        a.feature,
        any_value(p.n_positions) AS n_positions,
        count(*) AS n_active
    FROM places AS p
    INNER JOIN output_activations AS a ON p.seq_id = a.seq_id AND p.pos = a.pos
    GROUP BY a.layer, a.head, a.feature
),

shares AS (
    SELECT
        a.*,
        f.description,
        f.n_tokens / (SELECT count(*) AS n FROM tokens) AS share
    FROM active AS a
    INNER JOIN output_features AS f ON a.layer = f.layer AND a.head = f.head AND a.feature = f.feature
    WHERE a.n_active >= 5
)

SELECT
    format('{}.{}', head_label(layer, head), shares.feature) AS feature,
    round((n_active + 20 * share) / (n_positions + 20) / share, 1) AS lift,
    n_active,
    n_positions,
    round(n_active / n_positions, 3) AS share_active,
    description
FROM shares
ORDER BY (n_active + 20 * share) / (n_positions + 20) / share DESC, layer ASC, head ASC, shares.feature ASC
LIMIT $limit;
