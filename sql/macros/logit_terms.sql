-- Grain: a part of the attention logit of a query and a key, given the input features active at each, their activations in the
-- same order, and their scales (method.md section 15.1): a key feature with a query feature, or one of them with the constants
-- of the other side (NULL), or both constants. The tokens need not be stored.
CREATE MACRO logit_terms(
    of_layer, of_head, of_distance, of_keys, of_key_activations, of_key_scale, of_queries, of_query_activations, of_query_scale
) AS TABLE
WITH given (
    layer, head, distance, keys, key_activations, key_scale, queries, query_activations, query_scale
) AS (
    SELECT
        of_layer,
        of_head,
        of_distance,
        of_keys,
        of_key_activations,
        of_key_scale,
        of_queries,
        of_query_activations,
        of_query_scale
),

setting AS (
    SELECT
        g.distance,
        g.key_scale,
        g.query_scale,
        h.attn_scale,
        h.b_Q,
        h.b_K,
        h.decoder_bias_query,
        h.decoder_bias_key,
        r.frequencies,
        r.pairing,
        r.magnitude
    FROM given AS g
    INNER JOIN main.heads AS h ON g.layer = h.layer AND g.head = h.head
    LEFT JOIN main.rotations AS r ON g.layer = r.layer AND g.head = r.head
),

active AS (
    SELECT
        layer,
        head,
        TRUE AS is_key,
        unnest(keys) AS feature,
        unnest(key_activations)::DOUBLE / key_scale AS amount
    FROM given
    UNION ALL
    SELECT
        layer,
        head,
        FALSE AS is_key,
        unnest(queries) AS feature,
        unnest(query_activations)::DOUBLE / query_scale AS amount
    FROM given
),

vectors AS (
    SELECT
        a.is_key,
        a.feature,
        CASE WHEN a.is_key THEN p.key_vector::DOUBLE[] ELSE p.query_vector::DOUBLE[] END AS vector,
        a.amount
    FROM active AS a
    INNER JOIN main.projections AS p ON a.layer = p.layer AND a.head = p.head AND a.feature = p.feature
    UNION ALL
    SELECT
        s.is_key,
        NULL AS feature,
        list_transform(
            list_zip(s.bias, s.decoder_bias), lambda pair: pair[1] + pair[2] / s.scale
        ) AS vector,
        1 AS amount
    FROM (
        SELECT
            unnest([TRUE, FALSE]) AS is_key,
            unnest([b_K::DOUBLE[], b_Q::DOUBLE[]]) AS bias,
            unnest([decoder_bias_key::DOUBLE[], decoder_bias_query::DOUBLE[]]) AS decoder_bias,
            unnest([key_scale, query_scale]) AS scale
        FROM setting
    ) AS s
),

-- Once for each key feature, not for each pair.
turned_keys AS (
    SELECT
        k.feature,
        k.amount,
        main.turned_key(k.vector, s.distance, s.frequencies, s.pairing, s.magnitude) AS vector
    FROM vectors AS k
    CROSS JOIN setting AS s
    WHERE k.is_key
),

terms AS (
    SELECT
        k.feature AS key_feature,
        q.feature AS query_feature,
        k.amount * q.amount * list_inner_product(k.vector, q.vector) / s.attn_scale AS logit
    FROM turned_keys AS k
    CROSS JOIN vectors AS q
    CROSS JOIN setting AS s
    WHERE NOT q.is_key
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
COMMENT ON MACRO TABLE logit_terms IS 'The parts of an attention logit, by key and query feature, NULL for biases, of lists of active features: FROM logit_terms(layer, head, distance, keys, key_activations, key_scale, queries, query_activations, query_scale)';
