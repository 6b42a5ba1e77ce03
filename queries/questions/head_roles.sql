-- What each head attends to: previous token, earlier copies, what followed them, BOS, itself; beside control and probe.
-- Group: heads
-- $role = "all": one of all, previous_token, duplicate_token, induction, bos, self
-- $limit = 40: number of rows
SELECT
    'L' || r.layer || 'H' || r.head AS head,
    r.role,
    round(r.attention, 3) AS attention,
    round(r.attention_low, 3) AS attention_low,
    round(r.attention_high, 3) AS attention_high,
    round(r.control, 3) AS control,
    r.control_from,
    r.n_positions,
    round(p.attention, 3) AS probe,
    round(h.kept_attention_mass, 3) AS kept_attention
FROM head_roles AS r
INNER JOIN heads AS h ON r.layer = h.layer AND r.head = h.head
LEFT JOIN head_probes AS p ON r.layer = p.layer AND r.head = p.head AND r.role = p.role
WHERE $role IN ('all', r.role)
ORDER BY r.attention - r.control DESC NULLS LAST, r.layer ASC, r.head ASC, r.role ASC
LIMIT $limit;
