-- S(i,j) = (d_i W_K) . (d_j W_Q), the paper's scaling, from the stored weights.
CREATE MACRO attn_score(of_layer, of_head, key_feature, query_feature) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (layer, head, i, j) AS (SELECT of_layer, of_head, key_feature, query_feature)

                SELECT array_inner_product(k.key_vector, q.query_vector)
                FROM given AS g
                INNER JOIN main.projections AS k ON g.layer = k.layer AND g.head = k.head AND g.i = k.feature
                INNER JOIN main.projections AS q ON g.layer = q.layer AND g.head = q.head AND g.j = q.feature
            )
    END
);
COMMENT ON MACRO attn_score IS 'S(i,j) = (d_i W_K) . (d_j W_Q): attn_score(layer, head, key_feature, query_feature)';
