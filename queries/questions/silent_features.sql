-- Features that never fire, or nearly always do, by head: what rules cannot be about.
-- Group: the warehouse
-- $share = 0.5: share of the sequences from which a feature counts as firing nearly always
SELECT
    head_label(f.layer, f.head) AS head,
    count(*) AS n_features,
    count(*) FILTER (WHERE f.n_tokens = 0) AS n_silent,
    count(*) FILTER (WHERE f.n_sequences >= $share * z.n_sequences) AS n_nearly_always,
    median(f.n_sequences) AS median_n_sequences,
    any_value(z.n_sequences) AS of_sequences
FROM output_features AS f
CROSS JOIN (SELECT count(*) AS n_sequences FROM tokens WHERE pos = 0) AS z
GROUP BY f.layer, f.head
ORDER BY f.layer, f.head;
