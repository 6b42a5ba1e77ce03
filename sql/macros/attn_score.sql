-- S(i,j) = (d_i W_K) . (d_j W_Q), the paper's scaling, from the stored weights.
CREATE MACRO attn_score(of_layer, of_head, key_feature, query_feature) AS (
    SELECT array_inner_product(k.key_vector, q.query_vector)
    FROM projections AS k
    INNER JOIN projections AS q ON k.layer = q.layer AND k.head = q.head
    WHERE
        k.layer = of_layer AND k.head = of_head AND k.feature = key_feature
        AND q.feature = query_feature
);
COMMENT ON MACRO attn_score IS 'S(i,j) = (d_i W_K) . (d_j W_Q): attn_score(layer, head, key_feature, query_feature)';
