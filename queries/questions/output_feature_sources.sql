-- The source tokens that bring the activation of a feature: what attention carries from them where it is active.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $limit = 20: number of tokens
-- A source k brings A[q,k] (sum over i of a[k,i] V(f,i)) / sigma_k to the pre-activation at q (method.md section 8), but
-- for constants that all sources share; through every head, where the SAE reads the whole layer. contribution is the mean of what a token brings at no more than 1,000 drawn
-- positions where the feature is active, contribution_everywhere the same at 8,192 of all; share is a token's part of the
-- difference. Each amount is rounded to a unit, so that a sum within half a unit of each is nothing but rounding.
WITH active AS (
    SELECT
        seq_id,
        pos
    FROM output_activations
    WHERE layer = $layer AND head = $head AND feature = $feature AND pos > 0
    ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos
    LIMIT 1000
),

everywhere AS (
    SELECT
        seq_id,
        pos
    FROM tokens
    WHERE pos > 0
    ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos
    LIMIT 8192
),

drawn AS (
    SELECT
        seq_id,
        pos,
        TRUE AS is_active,
        1 / count(*) OVER () AS factor
    FROM active
    UNION ALL
    SELECT
        seq_id,
        pos,
        FALSE AS is_active,
        1 / count(*) OVER () AS factor
    FROM everywhere
),

key_values AS (
    SELECT
        p.head,
        p.feature AS key_feature,
        array_inner_product(p.value_vector, f.encoder)::DOUBLE AS value_score
    FROM projections AS p
    INNER JOIN feature_heads AS f ON p.layer = f.layer AND p.head = f.through_head
    WHERE p.layer = $layer AND f.layer = $layer AND f.head = $head AND f.feature = $feature
),

attended AS MATERIALIZED (
    SELECT
        d.is_active,
        a.head,
        a.seq_id,
        a.key_pos,
        t.token_id,
        a.weight::DOUBLE / s.ln_scale * d.factor AS weight
    FROM drawn AS d
    INNER JOIN attention_sources AS a ON d.seq_id = a.seq_id AND d.pos = a.query_pos
    INNER JOIN token_scales AS s ON a.seq_id = s.seq_id AND a.key_pos = s.pos
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.key_pos = t.pos
    WHERE a.layer = $layer AND (a.head = $head OR $head = -1) AND s.layer = $layer
),

by_token AS (
    SELECT
        a.token_id,
        coalesce(sum(exact_units(a.weight * i.activation * k.value_score)) FILTER (WHERE a.is_active), 0) AS when_active,
        coalesce(sum(exact_units(a.weight * i.activation * k.value_score)) FILTER (WHERE NOT a.is_active), 0)
            AS everywhere,
        count(*) FILTER (WHERE a.is_active) AS n_active,
        count(*) AS n_amounts
    FROM attended AS a
    INNER JOIN input_activations AS i ON a.seq_id = i.seq_id AND a.key_pos = i.pos
    INNER JOIN key_values AS k ON a.head = k.head AND i.feature = k.key_feature
    WHERE i.layer = $layer
    GROUP BY a.token_id
)

SELECT
    b.token_id,
    v.token,
    b.when_active / 281474976710656 AS contribution,
    b.everywhere / 281474976710656 AS contribution_everywhere,
    (b.when_active - b.everywhere) / sum(b.when_active - b.everywhere) OVER () AS share
FROM by_token AS b
INNER JOIN vocabulary AS v ON b.token_id = v.token_id
WHERE b.when_active > b.n_active / 2 AND b.when_active - b.everywhere > b.n_amounts / 2
ORDER BY b.when_active - b.everywhere DESC, b.token_id ASC
LIMIT $limit;
