-- Grain: an example of a feature of a page: the strongest of five sequences, and two of each band of activations below.
-- Reads: output_activations
WITH active AS (
    SELECT
        feature,
        seq_id,
        pos,
        activation,
        percent_rank() OVER (PARTITION BY feature ORDER BY activation) AS weaker
    FROM output_activations
    WHERE
        layer = $layer AND head = $head AND pos > 0
        AND feature IN (SELECT unnest($features::INTEGER[]) AS feature)
),

strongest AS (
    SELECT
        *,
        row_number() OVER (PARTITION BY feature ORDER BY activation DESC, seq_id ASC, pos ASC) AS place
    FROM active
    QUALIFY row_number() OVER (PARTITION BY feature, seq_id ORDER BY activation DESC, pos ASC) = 1
),

banded AS (
    SELECT
        a.feature,
        a.seq_id,
        a.pos,
        a.activation,
        a.weaker,
        least(3, floor(4 * a.weaker))::INTEGER AS band
    FROM active AS a
    ANTI JOIN (
        SELECT
            feature,
            seq_id
        FROM strongest
        WHERE place <= 5
    ) AS t ON a.feature = t.feature AND a.seq_id = t.seq_id
),

chosen AS (
    SELECT
        feature,
        seq_id,
        pos,
        activation,
        weaker,
        4 AS band
    FROM strongest
    WHERE place <= 5
    UNION ALL BY NAME
    SELECT *
    FROM banded
    QUALIFY
        row_number() OVER (PARTITION BY feature, band ORDER BY mix32(mix32(seq_id) + pos), seq_id, pos) <= 2
)

SELECT
    feature,
    seq_id,
    pos,
    activation,
    weaker,
    band
FROM chosen
ORDER BY feature ASC, band DESC, activation DESC, seq_id ASC, pos ASC;
