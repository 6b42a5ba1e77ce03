-- V_h(f,i) = (d_i W_V) . w_f^h, from the stored weights, of a head h that the feature reads.
CREATE MACRO value_score_through(of_layer, of_head, output_feature, of_through_head, key_feature) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (layer, head, f, through_head, i) AS (
                    SELECT of_layer, of_head, output_feature, of_through_head, key_feature
                )

                SELECT array_inner_product(p.value_vector, o.encoder)
                FROM given AS g
                INNER JOIN main.projections AS p
                    ON g.layer = p.layer AND g.through_head = p.head AND g.i = p.feature
                INNER JOIN main.feature_heads AS o
                    ON
                        g.layer = o.layer AND g.head = o.head AND g.f = o.feature
                        AND g.through_head = o.through_head
            )
    END
);
COMMENT ON MACRO value_score_through IS 'V(f,i) through one head: (d_i W_V) . w_f^h; head -1 for a feature of an SAE over the whole layer: value_score_through(layer, head, output_feature, through_head, key_feature)';
