-- Grain: a head that an output feature reads, and a stored source of one query position. What each source contributes to the
-- pre-activation of the feature through the head (method.md sections 8 and 11) when its value is rebuilt from the input
-- features: v_k is replaced by b_V + (b_dec W_V + sum_i a[k,i] d_i W_V) / ln_scale_k, so the part of v_k that the input SAE
-- misses is left out. contribution_all_from_features takes attention and scale from the features too.
CREATE MACRO dfa(of_layer, of_head, of_feature, of_seq, of_pos) AS TABLE
WITH given (layer, head, feature, seq_id, pos) AS (SELECT of_layer, of_head, of_feature, of_seq, of_pos),

read_off AS (
    SELECT
        f.through_head,
        f.encoder,
        array_inner_product(h.b_V, f.encoder) AS from_b_V,
        array_inner_product(h.decoder_bias_value, f.encoder) AS from_decoder_bias
    FROM given AS g
    INNER JOIN main.feature_heads AS f ON g.layer = f.layer AND g.head = f.head AND g.feature = f.feature
    INNER JOIN main.heads AS h ON f.layer = h.layer AND f.through_head = h.head
),

sources AS (
    SELECT
        r.through_head,
        r.from_b_V,
        r.from_decoder_bias,
        a.key_pos,
        a.weight,
        a.weight_from_features,
        s.ln_scale,
        s.ln_scale_from_features
    FROM given AS g
    CROSS JOIN read_off AS r
    INNER JOIN main.attention_sources AS a
        ON g.layer = a.layer AND r.through_head = a.head AND g.seq_id = a.seq_id AND g.pos = a.query_pos
    INNER JOIN main.token_scales AS s
        ON a.layer = s.layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
),

value_from_features AS (
    SELECT
        r.through_head,
        i.pos AS key_pos,
        main.exact_sum(i.activation * array_inner_product(p.value_vector, r.encoder)) AS v
    FROM given AS g
    INNER JOIN main.input_activations AS i ON g.layer = i.layer AND g.seq_id = i.seq_id AND g.pos >= i.pos
    INNER JOIN main.projections AS p ON i.layer = p.layer AND i.feature = p.feature
    INNER JOIN read_off AS r ON p.head = r.through_head
    GROUP BY r.through_head, i.pos
)

SELECT
    s.key_pos,
    v.token,
    s.weight,
    s.weight
    * (s.from_b_V + (s.from_decoder_bias + coalesce(f.v, 0)) / s.ln_scale) AS contribution_from_features,
    s.through_head,
    (g.pos - s.key_pos)::INTEGER AS distance,
    s.weight_from_features,
    s.weight_from_features
    * (s.from_b_V + (s.from_decoder_bias + coalesce(f.v, 0)) / s.ln_scale_from_features)
        AS contribution_all_from_features
FROM given AS g
CROSS JOIN sources AS s
LEFT JOIN value_from_features AS f ON s.through_head = f.through_head AND s.key_pos = f.key_pos
INNER JOIN main.tokens AS t ON g.seq_id = t.seq_id AND s.key_pos = t.pos
INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.pos::INTEGER AS key_pos
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY key_pos, through_head;
COMMENT ON MACRO TABLE dfa IS 'Contribution of each stored source, through each head that is read, to an output feature at a query position, values rebuilt from input features; head -1 for a feature of an SAE over the whole layer: FROM dfa(layer, head, feature, seq_id, pos)';
