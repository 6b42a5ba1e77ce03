-- S_D(i,j) = (d_j W_Q) R_D (d_i W_K)^T, the paper's scaling, from the stored weights: R_D turns the key back by the
-- distance D = q - k. A model without rotary positions has the same score at every distance.
CREATE MACRO attn_score_at(of_layer, of_head, key_feature, query_feature, distance) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (layer, head, i, j, d) AS (SELECT of_layer, of_head, key_feature, query_feature, distance)

                SELECT
                    CASE
                        WHEN
                            r.frequencies IS NULL
                            AND EXISTS (SELECT 1 FROM main.model AS m WHERE m.positional_embedding = 'rotary')
                            THEN error('how positions turn the keys of this head is not stored: attnrules ingest stores it where it can be known')
                        ELSE
                            list_inner_product(
                                main.turned_key(k.key_vector, g.d, r.frequencies, r.pairing, r.magnitude),
                                q.query_vector::DOUBLE[]
                            )
                    END
                FROM given AS g
                INNER JOIN main.projections AS k ON g.layer = k.layer AND g.head = k.head AND g.i = k.feature
                INNER JOIN main.projections AS q ON g.layer = q.layer AND g.head = q.head AND g.j = q.feature
                LEFT JOIN main.rotations AS r ON g.layer = r.layer AND g.head = r.head
            )
    END
);
COMMENT ON MACRO attn_score_at IS 'S(i,j) at the distance q - k, which matters in models with rotary positions: attn_score_at(layer, head, key_feature, query_feature, distance)';
