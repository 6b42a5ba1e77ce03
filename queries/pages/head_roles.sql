-- Grain: a role of a head beside its control.
-- Reads: head_roles
SELECT
    role,
    attention,
    attention_low,
    attention_high,
    control,
    control_from
FROM head_roles
WHERE layer = $layer AND head = $head
ORDER BY attention - control DESC NULLS LAST, role ASC;
