-- Grain: a rule of an output feature that matches at a position, with what it adds there to the prediction of its list: the
-- largest score of its matches, or their sum where attention carries keys (method.md section 5.1), or log-odds of a stated
-- rule (section 13.4). key_pos is where most of it comes from, NULL for a stated rule.
CREATE MACRO rules_at(of_layer, of_head, of_feature, of_seq, of_pos) AS TABLE
WITH given (layer, head, feature, seq_id, pos) AS (SELECT of_layer, of_head, of_feature, of_seq, of_pos),

own_rules AS (
    SELECT
        r.method,
        r.scaling,
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.attn_score,
        r.value_score,
        r.score,
        m.match_score,
        coalesce((u.arguments ->> 'bos_keys')::BOOLEAN, FALSE) AS bos_keys
    FROM given AS g
    INNER JOIN main.rules AS r ON g.layer = r.layer AND g.head = r.head AND g.feature = r.feature
    INNER JOIN main.methods AS m ON r.method = m.method
    INNER JOIN main.runs AS u ON r.run_id = u.run_id
),

active AS (
    SELECT
        i.pos,
        i.feature,
        i.activation::DOUBLE AS activation,
        s.ln_scale,
        i.activation / s.ln_scale_from_features AS activation_from_features,
        i.pos = g.pos AS is_here
    FROM given AS g
    INNER JOIN main.input_activations AS i ON g.layer = i.layer AND g.seq_id = i.seq_id AND g.pos >= i.pos
    INNER JOIN main.token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
),

sources AS (
    SELECT
        a.head,
        a.key_pos,
        a.weight_from_features AS weight
    FROM given AS g
    INNER JOIN main.attention_sources AS a ON g.layer = a.layer AND g.seq_id = a.seq_id AND g.pos = a.query_pos
),

matches AS (
    SELECT
        r.method,
        r.scaling,
        r.rank,
        r.through_head,
        r.key_feature,
        r.match_score,
        k.pos AS key_pos,
        main.score_of_match(
            r.match_score,
            r.score,
            r.attn_score,
            r.value_score,
            k.activation / CASE r.scaling WHEN 'model' THEN k.ln_scale ELSE 1 END,
            q.activation / CASE r.scaling WHEN 'model' THEN q.ln_scale ELSE 1 END,
            w.weight * k.activation_from_features
        ) AS score
    FROM own_rules AS r
    INNER JOIN active AS k ON r.key_feature = k.feature
    LEFT JOIN active AS q ON r.query_feature = q.feature AND q.is_here
    LEFT JOIN sources AS w ON r.through_head = w.head AND k.pos = w.key_pos
    WHERE
        (k.pos > 0 OR r.bos_keys)
        AND (r.query_feature IS NULL OR q.feature IS NOT NULL)
        AND (r.match_score <> 'carried' OR w.key_pos IS NOT NULL)
),

-- A key of a rule with several queries counts once, however many of them are active.
once AS (
    SELECT DISTINCT
        method,
        scaling,
        rank,
        through_head,
        key_feature,
        match_score,
        key_pos,
        score
    FROM matches
),

added AS (
    SELECT
        o.method,
        o.scaling,
        o.rank,
        CASE WHEN any_value(o.match_score) = 'carried' THEN main.exact_sum(o.score) ELSE max(o.score) END AS adds,
        arg_max(o.key_pos, (abs(o.score), -o.key_pos, -o.key_feature)) AS key_pos,
        arg_max(o.key_feature, (abs(o.score), -o.key_pos, -o.key_feature)) AS key_feature,
        any_value(o.through_head ORDER BY o.through_head) AS through_head
    FROM once AS o
    GROUP BY o.method, o.scaling, o.rank
),

found AS (
    SELECT
        a.method,
        a.scaling,
        a.rank,
        a.adds,
        a.key_pos,
        v.token AS key_token,
        a.key_feature,
        f.description AS words,
        a.through_head
    FROM given AS g
    CROSS JOIN added AS a
    INNER JOIN main.tokens AS t ON g.seq_id = t.seq_id AND a.key_pos = t.pos
    INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
    LEFT JOIN main.input_features AS f ON g.layer = f.layer AND a.key_feature = f.feature
    UNION ALL BY NAME
    SELECT
        m.method,
        'none' AS scaling,
        s.rank,
        s.weight AS adds,
        s.statement AS words,
        g.head AS through_head
    FROM given AS g
    INNER JOIN main.methods AS m ON m.match_score = 'holds'
    CROSS JOIN LATERAL (
        SELECT
            h.rank,
            h.weight,
            h.statement
        FROM main.stated_at(g.layer, g.head, g.feature, g.seq_id, g.pos) AS h
    ) AS s
)

SELECT
    method,
    scaling,
    rank,
    adds,
    key_pos,
    key_token,
    key_feature,
    words,
    through_head
FROM found
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::VARCHAR AS method
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY method, scaling, rank;
COMMENT ON MACRO TABLE rules_at IS 'The rules of an output feature that match at a position, and what each adds to the prediction of its list: FROM rules_at(layer, head, feature, seq_id, pos)';
