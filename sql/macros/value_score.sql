-- V(f,i) = (d_i W_V) . w_f, from the stored weights.
CREATE MACRO value_score(of_layer, of_head, output_feature, key_feature) AS (
    SELECT array_inner_product(p.value_vector, f.encoder)
    FROM projections AS p
    INNER JOIN output_features AS f ON p.layer = f.layer AND p.head = f.head
    WHERE
        p.layer = of_layer AND p.head = of_head AND p.feature = key_feature
        AND f.feature = output_feature
);
COMMENT ON MACRO value_score IS 'V(f,i) = (d_i W_V) . w_f: value_score(layer, head, output_feature, key_feature)';
