-- Every head of a finished ingest has its five roles, and attention is a share of 1, within its interval.
-- Reads: head_probes, head_roles, heads
SELECT format('L{}H{}: {} roles are known of 5', h.layer, h.head, count(r.role)) AS problem
FROM heads AS h
LEFT JOIN head_roles AS r ON h.layer = r.layer AND h.head = r.head
WHERE h.kept_attention_mass IS NOT NULL
GROUP BY h.layer, h.head
HAVING count(DISTINCT r.role) != 5 OR count(*) != 5
UNION ALL
SELECT format('L{}H{} {}: attention {} of [{}, {}]', layer, head, role, attention, attention_low, attention_high) AS problem
FROM (
    SELECT layer, head, role, attention, attention_low, attention_high FROM head_roles
    UNION ALL
    SELECT layer, head, role, attention, attention_low, attention_high FROM head_probes
) AS found
WHERE NOT (
    attention BETWEEN -0.0001 AND 1.01
    AND coalesce(attention_low, attention) <= attention + 0.01
    AND coalesce(attention_high, attention) >= attention - 0.01
);
