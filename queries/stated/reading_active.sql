-- Grain: a feature and a judged sequence in which it is active, with the positions at which it is.
-- Reads: judged, read_truth
SELECT
    t.feature,
    j.seq_id,
    count(*) AS n_active
FROM read_truth AS t
INNER JOIN judged AS j ON t.place = j.place
GROUP BY t.feature, j.seq_id
ORDER BY t.feature, j.seq_id;
