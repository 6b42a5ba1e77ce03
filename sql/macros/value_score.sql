-- V(f,i) = (d_i W_V) . w_f, from the stored weights.
CREATE MACRO value_score(of_layer, of_head, output_feature, key_feature) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (layer, head, f, i) AS (SELECT of_layer, of_head, output_feature, key_feature)

                SELECT array_inner_product(p.value_vector, o.encoder)
                FROM given AS g
                INNER JOIN main.projections AS p ON g.layer = p.layer AND g.head = p.head AND g.i = p.feature
                INNER JOIN main.output_features AS o ON g.layer = o.layer AND g.head = o.head AND g.f = o.feature
            )
    END
);
COMMENT ON MACRO value_score IS 'V(f,i) = (d_i W_V) . w_f: value_score(layer, head, output_feature, key_feature)';
