-- The tokens through which the first rules of a feature act, each with its share of the score.
-- Group: one feature
-- Needs: rules
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $n_rules = 4: rules of each method whose predictions are sums of what attention carries
-- $n_tokens = 6: tokens stated of each side
-- The score of a rule is what its keys add when the feature is active minus what they add everywhere (method.md section
-- 3.11), a sum over the tokens attended to: tokens are stated by their share of what raises it, on drawn positions. So the
-- addends of G[q,i] are kept apart here, which queries/evaluation/carried.py adds up.
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

drawn AS MATERIALIZED (
    SELECT
        row_number() OVER () AS place,
        p.seq_id,
        p.pos,
        t.token_id AS query_token,
        p.factor
    FROM (
        SELECT
            seq_id,
            pos,
            1 / count(*) OVER () AS factor
        FROM active
        UNION ALL
        SELECT
            seq_id,
            pos,
            -1 / count(*) OVER () AS factor
        FROM everywhere
    ) AS p
    INNER JOIN tokens AS t ON p.seq_id = t.seq_id AND p.pos = t.pos
),

first_rules AS MATERIALIZED (
    SELECT
        r.method,
        r.scaling,
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.value_score,
        coalesce((u.arguments ->> 'bos_keys')::BOOLEAN, FALSE) AS bos_keys
    FROM rules AS r
    INNER JOIN runs AS u ON r.run_id = u.run_id
    INNER JOIN methods AS m ON r.method = m.method
    WHERE
        r.layer = $layer AND r.head = $head AND r.feature = $feature
        AND r.rank <= $n_rules AND m.match_score = 'carried'
),

rule_keys AS (
    SELECT
        method,
        scaling,
        rank,
        through_head,
        key_feature,
        any_value(value_score) AS value_score,
        any_value(bos_keys) AS bos_keys,
        count(query_feature) > 0 AS has_queries
    FROM first_rules
    GROUP BY method, scaling, rank, through_head, key_feature
),

sources AS MATERIALIZED (
    SELECT
        p.place,
        p.query_token,
        a.head,
        a.seq_id,
        a.key_pos,
        t.token_id AS key_token,
        p.factor * a.weight_from_features / s.ln_scale_from_features AS weight
    FROM drawn AS p
    INNER JOIN attention_sources AS a ON p.seq_id = a.seq_id AND p.pos = a.query_pos
    INNER JOIN token_scales AS s ON a.seq_id = s.seq_id AND a.key_pos = s.pos
    INNER JOIN tokens AS t ON a.seq_id = t.seq_id AND a.key_pos = t.pos
    WHERE a.layer = $layer AND (a.head = $head OR $head = -1) AND s.layer = $layer
),

received AS MATERIALIZED (
    SELECT
        g.place,
        g.query_token,
        g.head,
        g.key_pos,
        g.key_token,
        i.feature AS key_feature,
        g.weight * i.activation AS amount
    FROM sources AS g
    INNER JOIN input_activations AS i ON g.seq_id = i.seq_id AND g.key_pos = i.pos
    SEMI JOIN first_rules AS r ON g.head = r.through_head AND i.feature = r.key_feature
    WHERE i.layer = $layer
),

-- A rule with queries counts only where one of them is active.
open_at AS MATERIALIZED (
    SELECT DISTINCT
        r.method,
        r.scaling,
        r.rank,
        p.place
    FROM drawn AS p
    INNER JOIN input_activations AS i ON p.seq_id = i.seq_id AND p.pos = i.pos
    INNER JOIN first_rules AS r ON i.feature = r.query_feature
    WHERE i.layer = $layer
),

carried AS (
    SELECT
        r.method,
        r.scaling,
        r.rank,
        g.key_token,
        g.query_token,
        sum(exact_units(r.value_score * g.amount)) AS amount
    FROM received AS g
    INNER JOIN rule_keys AS r ON g.head = r.through_head AND g.key_feature = r.key_feature
    LEFT JOIN open_at AS o
        ON r.method = o.method AND r.scaling = o.scaling AND r.rank = o.rank AND g.place = o.place
    WHERE (g.key_pos > 0 OR r.bos_keys) AND (NOT r.has_queries OR o.place IS NOT NULL)
    GROUP BY r.method, r.scaling, r.rank, g.key_token, g.query_token
),

by_token AS (
    SELECT
        method,
        scaling,
        rank,
        'key' AS side,
        key_token AS token_id,
        sum(amount) AS amount
    FROM carried
    GROUP BY method, scaling, rank, key_token
    HAVING sum(amount) > 0
    UNION ALL
    SELECT
        method,
        scaling,
        rank,
        'query' AS side,
        query_token AS token_id,
        sum(amount) AS amount
    FROM carried
    GROUP BY method, scaling, rank, query_token
    HAVING sum(amount) > 0
),

shares AS (
    SELECT
        method,
        scaling,
        rank,
        side,
        token_id,
        amount / sum(amount) OVER (PARTITION BY method, scaling, rank, side) AS share
    FROM by_token
    QUALIFY
        row_number() OVER (PARTITION BY method, scaling, rank, side ORDER BY amount DESC, token_id ASC) <= $n_tokens
),

sides AS (
    SELECT
        s.method,
        s.scaling,
        s.rank,
        s.side,
        string_agg(
            token_label(v.token) || ' ' || share_label(s.share), ', ' ORDER BY s.share DESC, s.token_id ASC
        ) AS words
    FROM shares AS s
    INNER JOIN vocabulary AS v ON s.token_id = v.token_id
    GROUP BY s.method, s.scaling, s.rank, s.side
),

sizes AS (
    SELECT
        method,
        scaling,
        rank,
        count(DISTINCT key_feature) AS n_keys,
        count(DISTINCT query_feature) AS n_queries
    FROM first_rules
    GROUP BY method, scaling, rank
)

SELECT
    z.method,
    z.scaling,
    z.rank,
    z.n_keys,
    k.words AS key_tokens,
    z.n_queries,
    q.words AS query_tokens
FROM sizes AS z
LEFT JOIN sides AS k ON z.method = k.method AND z.scaling = k.scaling AND z.rank = k.rank AND k.side = 'key'
LEFT JOIN sides AS q
    ON z.method = q.method AND z.scaling = q.scaling AND z.rank = q.rank AND q.side = 'query' AND z.n_queries > 0
ORDER BY z.method, z.scaling, z.rank;
