-- S_D(i,j) = (d_j W_Q) R_D (d_i W_K)^T, the paper's scaling, from the stored weights: R_D turns the key back by the
-- distance D = q - k. A model without rotary positions has the same score at every distance.
CREATE MACRO attn_score_at(of_layer, of_head, key_feature, query_feature, distance) AS (
    CASE
        WHEN main.answers_here('$warehouse')
            THEN (
                WITH given (layer, head, i, j, d) AS (SELECT of_layer, of_head, key_feature, query_feature, distance),

                sides AS (
                    SELECT
                        g.d,
                        k.key_vector::DOUBLE[] AS key,
                        q.query_vector::DOUBLE[] AS query,
                        r.frequencies,
                        len(r.frequencies) AS n,
                        r.pairing = 'halves' AS halves,
                        r.magnitude ** 2 AS factor
                    FROM given AS g
                    INNER JOIN main.projections AS k ON g.layer = k.layer AND g.head = k.head AND g.i = k.feature
                    INNER JOIN main.projections AS q ON g.layer = q.layer AND g.head = q.head AND g.j = q.feature
                    LEFT JOIN main.rotations AS r ON g.layer = r.layer AND g.head = r.head
                ),

                paired AS (
                    SELECT
                        *,
                        list_transform(
                            range(1, n + 1),
                            lambda f: {
                                'angle': d * frequencies[f],
                                'a': CASE WHEN halves THEN f ELSE 2 * f - 1 END,
                                'b': CASE WHEN halves THEN f + n ELSE 2 * f END
                            }
                        ) AS pairs
                    FROM sides
                )

                SELECT
                    CASE
                        WHEN n IS NOT NULL
                            THEN
                                factor
                                * coalesce(
                                    list_sum(
                                        list_transform(
                                            pairs,
                                            lambda p: cos(p.angle) * (query[p.a] * key[p.a] + query[p.b] * key[p.b])
                                            + sin(p.angle) * (query[p.a] * key[p.b] - query[p.b] * key[p.a])
                                        )
                                    ),
                                    0
                                )
                                + coalesce(list_inner_product(key[2 * n + 1 :], query[2 * n + 1 :]), 0)
                        WHEN EXISTS (SELECT 1 FROM main.model AS m WHERE m.positional_embedding = 'rotary')
                            THEN error('how positions turn the keys of this head is not stored: attnrules ingest stores it where it can be known')
                        ELSE list_inner_product(key, query)
                    END
                FROM paired
            )
    END
);
COMMENT ON MACRO attn_score_at IS 'S(i,j) at the distance q - k, which matters in models with rotary positions: attn_score_at(layer, head, key_feature, query_feature, distance)';
