-- Grain: a part of the attention logit of a (query, key) pair of positions, as the input features make it (method.md section
-- 15.1): a key feature with a query feature, or one of them with the constants of the other side (NULL), or both constants.
-- The parts add up to the logit whose softmax over the keys is attention_sources.weight_from_features, before the bound
-- that some models put on logits.
CREATE MACRO attention_terms(of_layer, of_head, of_seq, of_query_pos, of_key_pos) AS TABLE
WITH given (layer, head, seq_id, query_pos, key_pos) AS (
    SELECT of_layer, of_head, of_seq, of_query_pos, of_key_pos
),

setting AS (
    SELECT
        g.layer,
        g.head,
        g.seq_id,
        g.query_pos,
        g.key_pos,
        h.attn_scale,
        h.b_Q,
        h.b_K,
        h.decoder_bias_query,
        h.decoder_bias_key,
        k.ln_scale_from_features AS key_scale,
        q.ln_scale_from_features AS query_scale,
        r.frequencies,
        r.pairing,
        r.magnitude
    FROM given AS g
    INNER JOIN main.heads AS h ON g.layer = h.layer AND g.head = h.head
    INNER JOIN main.token_scales AS k ON g.layer = k.layer AND g.seq_id = k.seq_id AND g.key_pos = k.pos
    INNER JOIN main.token_scales AS q ON g.layer = q.layer AND g.seq_id = q.seq_id AND g.query_pos = q.pos
    LEFT JOIN main.rotations AS r ON g.layer = r.layer AND g.head = r.head
),

key_vectors AS (
    SELECT
        i.feature,
        p.key_vector::DOUBLE[] AS vector,
        i.activation::DOUBLE / s.key_scale AS amount
    FROM setting AS s
    INNER JOIN main.input_activations AS i ON s.layer = i.layer AND s.seq_id = i.seq_id AND s.key_pos = i.pos
    INNER JOIN main.projections AS p ON s.layer = p.layer AND s.head = p.head AND i.feature = p.feature
    UNION ALL
    SELECT
        NULL AS feature,
        list_transform(
            list_zip(b_K::DOUBLE[], decoder_bias_key::DOUBLE[]), lambda pair: pair[1] + pair[2] / key_scale
        ) AS vector,
        1 AS amount
    FROM setting
),

query_vectors AS (
    SELECT
        i.feature,
        p.query_vector::DOUBLE[] AS vector,
        i.activation::DOUBLE / s.query_scale AS amount
    FROM setting AS s
    INNER JOIN main.input_activations AS i ON s.layer = i.layer AND s.seq_id = i.seq_id AND s.query_pos = i.pos
    INNER JOIN main.projections AS p ON s.layer = p.layer AND s.head = p.head AND i.feature = p.feature
    UNION ALL
    SELECT
        NULL AS feature,
        list_transform(
            list_zip(b_Q::DOUBLE[], decoder_bias_query::DOUBLE[]), lambda pair: pair[1] + pair[2] / query_scale
        ) AS vector,
        1 AS amount
    FROM setting
),

-- Once for each key feature, not for each pair.
turned_keys AS (
    SELECT
        k.feature,
        k.amount,
        main.turned_key(k.vector, s.query_pos - s.key_pos, s.frequencies, s.pairing, s.magnitude) AS vector
    FROM key_vectors AS k
    CROSS JOIN setting AS s
),

terms AS (
    SELECT
        k.feature AS key_feature,
        q.feature AS query_feature,
        k.amount * q.amount * list_inner_product(k.vector, q.vector) / s.attn_scale AS logit
    FROM turned_keys AS k
    CROSS JOIN query_vectors AS q
    CROSS JOIN setting AS s
)

SELECT
    t.key_feature,
    k.description AS key_description,
    t.query_feature,
    q.description AS query_description,
    t.logit
FROM given AS g
CROSS JOIN terms AS t
LEFT JOIN main.input_features AS k ON g.layer = k.layer AND t.key_feature = k.feature
LEFT JOIN main.input_features AS q ON g.layer = q.layer AND t.query_feature = q.feature
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT
    CASE
        WHEN NOT main.answers_here('$warehouse') THEN NULL
        ELSE error('how positions act on the attention of this head is not stored: attnrules ingest stores it where it can be known')
    END::INTEGER AS key_feature
FROM given AS g
CROSS JOIN main.model AS m
LEFT JOIN main.rotations AS r ON g.layer = r.layer AND g.head = r.head
WHERE NOT main.answers_here('$warehouse') OR (m.positional_embedding <> 'standard' AND r.frequencies IS NULL)
ORDER BY logit DESC, key_feature ASC, query_feature ASC;
COMMENT ON MACRO TABLE attention_terms IS 'Why a position attends to another: the parts of the attention logit, by key and query feature, NULL for biases: FROM attention_terms(layer, head, seq_id, query_pos, key_pos)';
