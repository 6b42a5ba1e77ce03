-- Where a feature is active, in its text, strongest first.
-- Group: one feature
-- $layer = 0: layer of the feature
-- $head = 0: head of the feature; -1 where its SAE reads the whole layer
-- $feature = 0: the output feature
-- $weaker_than = 1.0: only activations that this share of its activations are weaker than, such as 0.5
-- $limit = 20: number of positions
SELECT
    seq_id,
    pos,
    round(activation, 3) AS activation,
    round(weaker, 3) AS weaker,
    before,
    token,
    after
FROM activations_of($layer, $head, $feature)
WHERE weaker <= $weaker_than
ORDER BY activation DESC, seq_id ASC, pos ASC
LIMIT $limit;
