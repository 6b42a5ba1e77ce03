-- Grain: a part of the attention logit of a (query, key) pair of positions, as the input features make it (method.md section
-- 15.1): a key feature with a query feature, or one of them with the constants of the other side (NULL), or both constants.
-- The parts add up to the logit whose softmax over the keys is attention_sources.weight_from_features, before the bound
-- that some models put on logits.
CREATE MACRO attention_terms(of_layer, of_head, of_seq, of_query_pos, of_key_pos) AS TABLE
WITH given (layer, head, seq_id, query_pos, key_pos) AS (
    SELECT of_layer, of_head, of_seq, of_query_pos, of_key_pos
),

both_sides AS (
    SELECT
        i.pos,
        list(i.feature ORDER BY i.feature) AS features,
        list(i.activation ORDER BY i.feature) AS activations
    FROM given AS g
    INNER JOIN main.input_activations AS i
        ON g.layer = i.layer AND g.seq_id = i.seq_id AND (i.pos = g.query_pos OR i.pos = g.key_pos)
    GROUP BY i.pos
),

asked AS (
    SELECT
        g.layer,
        g.head,
        g.query_pos - g.key_pos AS distance,
        coalesce(k.features, []) AS keys,
        coalesce(k.activations, []) AS key_activations,
        ks.ln_scale_from_features AS key_scale,
        coalesce(q.features, []) AS queries,
        coalesce(q.activations, []) AS query_activations,
        qs.ln_scale_from_features AS query_scale
    FROM given AS g
    INNER JOIN main.token_scales AS ks ON g.layer = ks.layer AND g.seq_id = ks.seq_id AND g.key_pos = ks.pos
    INNER JOIN main.token_scales AS qs ON g.layer = qs.layer AND g.seq_id = qs.seq_id AND g.query_pos = qs.pos
    LEFT JOIN both_sides AS k ON g.key_pos = k.pos
    LEFT JOIN both_sides AS q ON g.query_pos = q.pos
)

SELECT
    t.key_feature,
    t.key_description,
    t.query_feature,
    t.query_description,
    t.logit
FROM asked AS a
CROSS JOIN LATERAL (
    FROM main.logit_terms(
        a.layer,
        a.head,
        a.distance,
        a.keys,
        a.key_activations,
        a.key_scale,
        a.queries,
        a.query_activations,
        a.query_scale
    )
) AS t
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.layer::INTEGER AS key_feature
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY logit DESC, key_feature ASC, query_feature ASC;
COMMENT ON MACRO TABLE attention_terms IS 'Why a position attends to another: the parts of the attention logit, by key and query feature, NULL for biases: FROM attention_terms(layer, head, seq_id, query_pos, key_pos)';
