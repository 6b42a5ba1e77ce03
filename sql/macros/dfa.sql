-- Grain: a stored source of one query position. What each source contributes to the pre-activation of an output
-- feature (method.md section 8) when its value is rebuilt from the input features: v_k is replaced by
-- b_V + (b_dec W_V + sum_i a[k,i] d_i W_V) / ln_scale_k, so the part of v_k that the input SAE misses is left out.
CREATE MACRO dfa(of_layer, of_head, of_feature, of_seq, of_pos) AS TABLE
WITH read_off AS (
    SELECT
        f.encoder,
        array_inner_product(h.b_V, f.encoder) AS from_b_V,
        array_inner_product(h.decoder_bias_value, f.encoder) AS from_decoder_bias
    FROM output_features AS f
    INNER JOIN heads AS h ON f.layer = h.layer AND f.head = h.head
    WHERE f.layer = of_layer AND f.head = of_head AND f.feature = of_feature
),

sources AS (
    SELECT
        a.key_pos,
        a.weight,
        s.ln_scale
    FROM attention_sources AS a
    INNER JOIN token_scales AS s
        ON a.layer = s.layer AND a.seq_id = s.seq_id AND a.key_pos = s.pos
    WHERE a.layer = of_layer AND a.head = of_head AND a.seq_id = of_seq AND a.query_pos = of_pos
),

value_from_features AS (
    SELECT
        i.pos AS key_pos,
        sum(i.activation * array_inner_product(p.value_vector, r.encoder)) AS v
    FROM input_activations AS i
    INNER JOIN projections AS p ON i.layer = p.layer AND i.feature = p.feature
    CROSS JOIN read_off AS r
    WHERE i.layer = of_layer AND i.seq_id = of_seq AND i.pos <= of_pos AND p.head = of_head
    GROUP BY i.pos
)

SELECT
    s.key_pos,
    v.token,
    s.weight,
    s.weight
    * (r.from_b_V + (r.from_decoder_bias + coalesce(f.v, 0)) / s.ln_scale) AS contribution_from_features
FROM sources AS s
CROSS JOIN read_off AS r
LEFT JOIN value_from_features AS f ON s.key_pos = f.key_pos
INNER JOIN tokens AS t ON t.seq_id = of_seq AND s.key_pos = t.pos
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
ORDER BY s.key_pos;
COMMENT ON MACRO TABLE dfa IS 'Contribution of each stored source to an output feature at a query position, values rebuilt from input features: FROM dfa(layer, head, feature, seq_id, pos)';
