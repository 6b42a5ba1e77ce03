-- Grain: a position of a test sequence of the set all_positions at which a list of rules predicts an output feature to be
-- active, or at which it is: a hit, a false alarm or a miss. The list is the first of_n_rules rules of a method whose rules
-- carry keys or are stated, judged at its stored threshold (method.md sections 4.4, 5.3 and 13.4). No feature has no rows.
CREATE MACRO held_out_outcomes(of_layer, of_head, of_feature, of_method, of_n_rules) AS TABLE
WITH given (layer, head, feature, method, n_rules) AS (
    SELECT of_layer, of_head, of_feature, of_method, of_n_rules
),

judged_lists AS (
    SELECT
        g.layer,
        g.head,
        g.feature,
        g.n_rules,
        e.method,
        e.scaling,
        e.threshold,
        m.match_score,
        coalesce((u.arguments ->> 'bos_keys')::BOOLEAN, FALSE) AS bos_keys,
        (u.arguments ->> 'seed')::BIGINT AS seed,
        (u.arguments ->> 'held_out')::BIGINT AS held_out
    FROM given AS g
    INNER JOIN main.rule_evaluations AS e
        ON
            g.layer = e.layer AND g.head = e.head AND g.feature = e.feature
            AND g.method = e.method AND g.n_rules = e.n_rules AND e.example_set = 'all_positions'
    INNER JOIN main.methods AS m ON e.method = m.method
    INNER JOIN main.runs AS u ON e.run_id = u.run_id
    WHERE m.match_score IN ('carried', 'holds')
),

sequences AS (
    SELECT t.seq_id
    FROM judged_lists AS l
    CROSS JOIN main.tokens AS t
    WHERE t.pos = 0 AND main.sequence_split(l.seed, t.seq_id) = 'test'
    QUALIFY
        row_number() OVER (ORDER BY main.mix32(main.mix32(l.seed) + t.seq_id), t.seq_id) <= max(l.held_out) OVER ()
),

places AS (
    SELECT
        t.seq_id,
        t.pos
    FROM sequences AS s
    INNER JOIN main.tokens AS t ON s.seq_id = t.seq_id
    WHERE t.pos > 0
),

of_list AS (
    SELECT DISTINCT
        l.layer,
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.value_score,
        l.bos_keys
    FROM judged_lists AS l
    INNER JOIN main.rules AS r
        ON
            l.layer = r.layer AND l.head = r.head AND l.feature = r.feature
            AND l.method = r.method AND l.scaling = r.scaling AND l.n_rules >= r.rank
    WHERE l.match_score = 'carried'
),

list_keys AS (
    SELECT DISTINCT
        layer,
        through_head,
        key_feature,
        bos_keys
    FROM of_list
),

received AS (
    SELECT
        p.seq_id,
        p.pos,
        k.through_head,
        k.key_feature,
        main.exact_sum(a.weight_from_features * (i.activation / s.ln_scale_from_features)) AS amount
    FROM list_keys AS k
    INNER JOIN main.input_activations AS i ON k.layer = i.layer AND k.key_feature = i.feature
    INNER JOIN main.token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
    INNER JOIN main.attention_sources AS a
        ON k.layer = a.layer AND k.through_head = a.head AND i.seq_id = a.seq_id AND i.pos = a.key_pos
    INNER JOIN places AS p ON a.seq_id = p.seq_id AND a.query_pos = p.pos
    WHERE i.pos > 0 OR k.bos_keys
    GROUP BY p.seq_id, p.pos, k.through_head, k.key_feature
),

-- A rule with queries counts only where one of them is active, and each of its keys once.
open_at AS (
    SELECT DISTINCT
        r.rank,
        p.seq_id,
        p.pos
    FROM of_list AS r
    INNER JOIN main.input_activations AS i ON r.layer = i.layer AND r.query_feature = i.feature
    INNER JOIN places AS p ON i.seq_id = p.seq_id AND i.pos = p.pos
),

carried AS (
    SELECT
        v.seq_id,
        v.pos,
        main.exact_sum(k.value_score * v.amount) AS prediction
    FROM (
        SELECT DISTINCT
            rank,
            through_head,
            key_feature,
            value_score,
            query_feature IS NOT NULL AS has_queries
        FROM of_list
    ) AS k
    INNER JOIN received AS v ON k.through_head = v.through_head AND k.key_feature = v.key_feature
    LEFT JOIN open_at AS o ON k.rank = o.rank AND v.seq_id = o.seq_id AND v.pos = o.pos
    WHERE NOT k.has_queries OR o.rank IS NOT NULL
    GROUP BY v.seq_id, v.pos
),

held AS (
    SELECT
        p.seq_id,
        p.pos,
        1 / (1 + exp(-(any_value(h.prior) + main.exact_sum(h.weight)))) AS prediction
    FROM judged_lists AS l
    CROSS JOIN places AS p
    CROSS JOIN LATERAL (
        SELECT
            f.rank,
            f.weight,
            f.prior
        FROM main.stated_at(l.layer, l.head, l.feature, p.seq_id, p.pos) AS f
    ) AS h
    WHERE l.match_score = 'holds' AND l.n_rules >= h.rank
    GROUP BY p.seq_id, p.pos
),

predicted AS (
    SELECT
        p.seq_id,
        p.pos,
        l.threshold,
        y.activation,
        coalesce(c.prediction, h.prediction, 0) AS prediction
    FROM judged_lists AS l
    CROSS JOIN places AS p
    LEFT JOIN carried AS c ON p.seq_id = c.seq_id AND p.pos = c.pos
    LEFT JOIN held AS h ON p.seq_id = h.seq_id AND p.pos = h.pos
    LEFT JOIN main.output_activations AS y
        ON l.layer = y.layer AND l.head = y.head AND l.feature = y.feature AND p.seq_id = y.seq_id AND p.pos = y.pos
)

SELECT
    seq_id,
    pos,
    CASE
        WHEN activation IS NULL THEN 'false alarm'
        WHEN prediction > threshold THEN 'hit'
        ELSE 'miss'
    END AS outcome,
    activation,
    prediction,
    threshold
FROM predicted
WHERE activation IS NOT NULL OR prediction > threshold
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT
    CASE
        WHEN NOT main.answers_here('$warehouse') THEN NULL
        ELSE error('no list of so many rules of that method is judged on all_positions of this feature, or its method is not one whose predictions are rebuilt: the weighted ones and stated')
    END::VARCHAR AS outcome
FROM given AS g
WHERE
    NOT main.answers_here('$warehouse')
    OR (g.feature IS NOT NULL AND NOT EXISTS (SELECT 1 FROM judged_lists AS l))
ORDER BY seq_id, pos;
COMMENT ON MACRO TABLE held_out_outcomes IS 'Where a list of rules is right and wrong on the test positions of the set all_positions, as it was judged: hit, false alarm or miss: FROM held_out_outcomes(layer, head, feature, method, n_rules)';
