-- Grain: a part of the pre-activation of an output feature at a position (method.md section 8.1): a rule, by the keys that it
-- is the first of its list to name; the keys of no rule; those at BOS; the biases; and what the features miss, which is the
-- stored activation less the other parts, NULL where the feature is silent. The list is the first of_n_rules of its method.
CREATE MACRO activation_parts(
    of_layer, of_head, of_feature, of_seq, of_pos, of_method, of_scaling, of_n_rules
) AS TABLE
WITH given (layer, head, feature, seq_id, pos, method, scaling, n_rules) AS (
    SELECT of_layer, of_head, of_feature, of_seq, of_pos, of_method, of_scaling, of_n_rules
),

sources AS (
    SELECT
        f.through_head,
        a.key_pos,
        f.encoder,
        a.weight / s.ln_scale AS weight,
        a.weight * array_inner_product(h.b_V, f.encoder)
        + a.weight / s.ln_scale * array_inner_product(h.decoder_bias_value, f.encoder) AS from_biases
    FROM given AS g
    INNER JOIN main.feature_heads AS f ON g.layer = f.layer AND g.head = f.head AND g.feature = f.feature
    INNER JOIN main.heads AS h ON f.layer = h.layer AND f.through_head = h.head
    INNER JOIN main.attention_sources AS a
        ON f.layer = a.layer AND f.through_head = a.head AND g.seq_id = a.seq_id AND g.pos = a.query_pos
    INNER JOIN main.token_scales AS s ON a.layer = s.layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
),

carried AS (
    SELECT
        s.through_head,
        s.key_pos,
        i.feature AS key_feature,
        s.weight * i.activation * array_inner_product(p.value_vector, s.encoder) AS amount
    FROM given AS g
    CROSS JOIN sources AS s
    INNER JOIN main.input_activations AS i ON g.layer = i.layer AND g.seq_id = i.seq_id AND s.key_pos = i.pos
    INNER JOIN main.projections AS p ON i.layer = p.layer AND s.through_head = p.head AND i.feature = p.feature
),

-- A rule with queries names its keys only where one of them is active.
named AS (
    SELECT
        r.through_head,
        r.key_feature,
        min(r.rank) AS rank,
        bool_or(coalesce((u.arguments ->> 'bos_keys')::BOOLEAN, FALSE)) AS bos_keys
    FROM given AS g
    INNER JOIN main.rules AS r
        ON
            g.layer = r.layer AND g.head = r.head AND g.feature = r.feature
            AND g.method = r.method AND g.scaling = r.scaling AND g.n_rules >= r.rank
    LEFT JOIN main.runs AS u ON r.run_id = u.run_id
    LEFT JOIN main.input_activations AS q
        ON g.layer = q.layer AND g.seq_id = q.seq_id AND g.pos = q.pos AND r.query_feature = q.feature
    WHERE r.query_feature IS NULL OR q.feature IS NOT NULL
    GROUP BY r.through_head, r.key_feature
),

placed AS (
    SELECT
        k.key_pos,
        k.key_feature,
        k.amount,
        CASE
            WHEN k.key_pos = 0 AND n.bos_keys IS NOT TRUE THEN 'keys at BOS'
            WHEN n.rank IS NULL THEN 'keys without a rule'
            ELSE 'rule'
        END AS part,
        CASE WHEN k.key_pos > 0 OR n.bos_keys THEN n.rank END AS rank
    FROM carried AS k
    LEFT JOIN named AS n ON k.through_head = n.through_head AND k.key_feature = n.key_feature
),

known AS (
    SELECT
        part,
        rank,
        main.exact_sum(amount) AS amount,
        arg_max(key_pos, (abs(amount), -key_pos, -key_feature)) AS key_pos,
        arg_max(key_feature, (abs(amount), -key_pos, -key_feature)) AS key_feature
    FROM placed
    GROUP BY part, rank
    UNION ALL BY NAME
    SELECT
        'biases' AS part,
        any_value(f.preactivation_bias) + coalesce(main.exact_sum(s.from_biases), 0) AS amount
    FROM given AS g
    INNER JOIN main.output_features AS f ON g.layer = f.layer AND g.head = f.head AND g.feature = f.feature
    LEFT JOIN sources AS s ON TRUE
    HAVING count(*) > 0
),

parts AS (
    SELECT
        part,
        rank,
        amount,
        key_pos,
        key_feature
    FROM known
    UNION ALL BY NAME
    SELECT
        'what the features miss' AS part,
        any_value(o.activation) - any_value(k.amount) AS amount
    FROM given AS g
    CROSS JOIN (SELECT main.exact_sum(amount) AS amount FROM known) AS k
    LEFT JOIN main.output_activations AS o
        ON
            g.layer = o.layer AND g.head = o.head AND g.feature = o.feature
            AND g.seq_id = o.seq_id AND g.pos = o.pos
    WHERE g.feature IS NOT NULL
    HAVING count(*) > 0
)

SELECT
    p.part,
    p.rank,
    p.amount,
    p.key_pos,
    v.token AS key_token,
    p.key_feature,
    i.description AS words
FROM given AS g
CROSS JOIN parts AS p
LEFT JOIN main.tokens AS t ON g.seq_id = t.seq_id AND p.key_pos = t.pos
LEFT JOIN main.vocabulary AS v ON t.token_id = v.token_id
LEFT JOIN main.input_features AS i ON g.layer = i.layer AND p.key_feature = i.feature
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT
    CASE
        WHEN NOT main.answers_here('$warehouse') THEN NULL
        ELSE error('no rules of that method and scaling are stored of this feature whose keys carry attention')
    END::VARCHAR AS part
FROM given AS g
WHERE
    NOT main.answers_here('$warehouse')
    OR (
        g.feature IS NOT NULL AND NOT EXISTS (
            SELECT 1
            FROM main.rules AS r
            WHERE
                g.layer = r.layer AND g.head = r.head AND g.feature = r.feature
                AND g.method = r.method AND g.scaling = r.scaling
        )
    )
ORDER BY rank NULLS LAST, part;
COMMENT ON MACRO TABLE activation_parts IS 'What an activation is made of: rules, keys without one, keys at BOS, biases and what the features miss, which add up to it: FROM activation_parts(layer, head, feature, seq_id, pos, method, scaling, n_rules)';
