-- Grain: a candidate rule and a test sequence: positions by what the rule, the presence rule, the position rule and the
-- skip-gram say, and whether the output feature is active.
-- Reads: count_positions
WITH candidates AS (
    SELECT
        unnest($features::INTEGER[]) AS feature,
        unnest($pairs::INTEGER[]) AS pair,
        unnest($key_weights::INTEGER[]) AS key_weight,
        unnest($opponent_weights::INTEGER[]) AS opponent_weight,
        unnest($thresholds::INTEGER[]) AS threshold,
        unnest($without_opponent::BOOLEAN[]) AS without_opponent,
        unnest($position_thresholds::INTEGER[]) AS position_threshold,
        unnest($from_threshold::BOOLEAN[]) AS from_threshold
),

judged AS (
    SELECT
        p.feature,
        p.pair,
        p.seq_id,
        c.key_weight * p.n_key - c.opponent_weight * coalesce(p.n_opponent, 0) >= c.threshold AS by_count,
        p.n_key > 0 AND NOT (c.without_opponent AND p.n_opponent > 0) AS by_presence,
        CASE WHEN c.from_threshold THEN p.pos >= c.position_threshold ELSE p.pos <= c.position_threshold END
            AS by_position,
        p.n_key > 0 AS by_skipgram,
        p.activation > 0 AS is_active
    FROM candidates AS c
    INNER JOIN count_positions AS p USING (feature, pair)
    WHERE p.split = 'test'
)

SELECT
    feature,
    pair,
    seq_id,
    by_count::INTEGER AS by_count,
    by_presence::INTEGER AS by_presence,
    by_position::INTEGER AS by_position,
    by_skipgram::INTEGER AS by_skipgram,
    is_active::INTEGER AS is_active,
    count(*) AS n
FROM judged
GROUP BY feature, pair, seq_id, by_count, by_presence, by_position, by_skipgram, is_active
ORDER BY feature, pair, seq_id;
