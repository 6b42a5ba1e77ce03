-- Grain: a rule of one list and an example of the `paper` set that it matches, with the score it predicts there alone:
-- the largest of its matches, or what attention carries for rules that are summed (method.md sections 3.5 and 5.1). Of one
-- list, match by match: make_bucket_maxima and carried.py score the same for all lists without a row per match.
-- Reads: attention_sources, examples, input_activations, methods, rules, token_scales
WITH of_list AS (
    SELECT
        r.rank,
        r.through_head,
        r.key_feature,
        r.query_feature,
        r.attn_score,
        r.value_score,
        r.score,
        m.match_score
    FROM rules AS r
    INNER JOIN methods AS m ON r.method = m.method
    WHERE
        r.layer = $layer AND r.head = $head AND r.feature = $feature
        AND r.method = $method AND r.scaling = $scaling AND r.rank <= $n_rules
),

judged AS (
    SELECT
        seq_id,
        pos
    FROM examples
    WHERE layer = $layer AND head = $head AND feature = $feature AND example_set = 'paper'
),

scaled AS (
    SELECT
        i.seq_id,
        i.pos,
        i.feature,
        i.activation::DOUBLE / CASE $scaling WHEN 'model' THEN s.ln_scale ELSE 1 END AS activation,
        i.activation / s.ln_scale_from_features AS activation_from_features
    FROM input_activations AS i
    INNER JOIN token_scales AS s ON i.layer = s.layer AND i.seq_id = s.seq_id AND i.pos = s.pos
    WHERE i.layer = $layer AND i.seq_id IN (SELECT j.seq_id FROM judged AS j)
),

sources AS (
    SELECT
        a.head,
        a.seq_id,
        a.query_pos,
        a.key_pos,
        a.weight_from_features AS weight
    FROM attention_sources AS a
    INNER JOIN judged AS j ON a.seq_id = j.seq_id AND a.query_pos = j.pos
    WHERE
        a.layer = $layer AND a.head IN (SELECT r.through_head FROM of_list AS r WHERE r.match_score = 'carried')
),

-- A key of a rule with several queries counts once, however many of them are active.
matches AS (
    SELECT DISTINCT
        r.rank,
        j.seq_id,
        j.pos,
        k.pos AS key_pos,
        r.through_head,
        r.key_feature,
        r.match_score,
        score_of_match(
            r.match_score,
            r.score,
            r.attn_score,
            r.value_score,
            k.activation,
            q.activation,
            coalesce(w.weight, 0) * k.activation_from_features
        ) AS score
    FROM judged AS j
    INNER JOIN scaled AS k ON j.seq_id = k.seq_id AND j.pos >= k.pos
    INNER JOIN of_list AS r ON k.feature = r.key_feature
    LEFT JOIN scaled AS q ON j.seq_id = q.seq_id AND j.pos = q.pos AND r.query_feature = q.feature
    LEFT JOIN sources AS w
        ON r.through_head = w.head AND j.seq_id = w.seq_id AND j.pos = w.query_pos AND k.pos = w.key_pos
    WHERE (k.pos > 0 OR $bos_keys) AND (r.query_feature IS NULL OR q.feature IS NOT NULL)
)

SELECT
    m.rank,
    m.seq_id,
    m.pos,
    CASE WHEN m.match_score = 'carried' THEN exact_sum(m.score) ELSE max(m.score) END AS score
FROM matches AS m
GROUP BY m.rank, m.seq_id, m.pos, m.match_score;
