-- R_D k: a key turned back by the distance D to the query, so that S_D(i,j) is its inner product with the query (method.md
-- section 2.4). Without frequencies, NULL where the positions of a head are not rotary, it is the key as it is.
CREATE MACRO turned_key(key_vector, distance, frequencies, pairing, magnitude) AS (
    CASE
        WHEN frequencies IS NULL THEN key_vector::DOUBLE[]
        ELSE list_transform(
            range(1, len(key_vector::DOUBLE[]) + 1),
            lambda place: CASE
                WHEN place > 2 * len(frequencies) THEN key_vector[place]::DOUBLE
                WHEN pairing = 'halves' AND place <= len(frequencies)
                    THEN
                        magnitude ** 2 * (
                            cos(distance * frequencies[place]) * key_vector[place]
                            + sin(distance * frequencies[place]) * key_vector[place + len(frequencies)]
                        )
                WHEN pairing = 'halves'
                    THEN
                        magnitude ** 2 * (
                            cos(distance * frequencies[place - len(frequencies)]) * key_vector[place]
                            - sin(distance * frequencies[place - len(frequencies)])
                            * key_vector[place - len(frequencies)]
                        )
                WHEN place % 2 = 1
                    THEN
                        magnitude ** 2 * (
                            cos(distance * frequencies[(place + 1) // 2]) * key_vector[place]
                            + sin(distance * frequencies[(place + 1) // 2]) * key_vector[place + 1]
                        )
                ELSE
                    magnitude ** 2 * (
                        cos(distance * frequencies[place // 2]) * key_vector[place]
                        - sin(distance * frequencies[place // 2]) * key_vector[place - 1]
                    )
            END
        )
    END
);
COMMENT ON MACRO turned_key IS 'A key turned back by the distance to the query, as rotary positions do; the key itself where frequencies is NULL: turned_key(key_vector, distance, frequencies, pairing, magnitude)';
