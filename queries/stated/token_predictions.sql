-- Grain: a feature and a position of a given sequence at which a rule of it holds.
-- Reads: judged, read_matches, read_rules, read_tokens, vocabulary
SELECT
    j.seq_id AS text,
    j.pos,
    any_value(v.token) AS token,
    r.layer,
    r.head,
    r.feature,
    1 / (1 + exp(-(any_value(r.prior) + exact_sum(r.weight)))) AS probability,
    list(r.rank ORDER BY r.rank) AS rules
FROM read_matches AS m
INNER JOIN read_rules AS r ON m.rule = r.rule
INNER JOIN judged AS j ON m.place = j.place
INNER JOIN read_tokens AS t ON j.seq_id = t.seq_id AND j.pos = t.pos
INNER JOIN vocabulary AS v ON t.token_id = v.token_id
GROUP BY j.seq_id, j.pos, r.layer, r.head, r.feature
ORDER BY j.seq_id, j.pos, r.layer, r.head, r.feature;
