-- Grain: a role of one head, beside its control and what the model does on repeated random tokens.
-- Reads: head_probes, head_roles
SELECT
    r.role,
    r.attention,
    r.attention_low,
    r.attention_high,
    r.control,
    r.control_from,
    r.n_positions,
    r.n_sequences,
    p.attention AS probe,
    p.attention_low AS probe_low,
    p.attention_high AS probe_high
FROM head_roles AS r
LEFT JOIN head_probes AS p ON r.layer = p.layer AND r.head = p.head AND r.role = p.role
WHERE r.layer = $layer AND r.head = $head
ORDER BY r.attention - r.control DESC NULLS LAST, r.role ASC;
