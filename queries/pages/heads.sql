-- Grain: a head, or layer, of the site, with what it attends to and how far rules describe its features. Beside its role stands
-- another that gets three times its control, and 0.05 at least.
-- Reads: head_summary, head_roles
SELECT
    s.layer,
    s.head,
    head_label(s.layer, s.head) AS name,
    s.* EXCLUDE (layer, head),
    r.previous_token,
    r.duplicate_token,
    r.induction,
    r.bos,
    r.self,
    b.beside_role,
    b.beside_attention,
    b.beside_control
FROM head_summary AS s
LEFT JOIN (
    -- Much of nearly every head rests on BOS: what it does otherwise is clearer than by chance.
    SELECT
        h.layer,
        h.head,
        h.role AS beside_role,
        h.attention AS beside_attention,
        h.control AS beside_control
    FROM head_roles AS h
    INNER JOIN head_summary AS m ON h.layer = m.layer AND h.head = m.head
    WHERE
        h.role NOT IN ('bos', 'self') AND h.role <> coalesce(m.role, '')
        AND h.attention >= 0.05 AND h.attention_low > 3 * h.control
    QUALIFY row_number() OVER (PARTITION BY h.layer, h.head ORDER BY h.attention - h.control DESC, h.role ASC) = 1
) AS b ON s.layer = b.layer AND s.head = b.head
LEFT JOIN (
    SELECT
        layer,
        head,
        any_value(attention) FILTER (WHERE role = 'previous_token') AS previous_token,
        any_value(attention) FILTER (WHERE role = 'duplicate_token') AS duplicate_token,
        any_value(attention) FILTER (WHERE role = 'induction') AS induction,
        any_value(attention) FILTER (WHERE role = 'bos') AS bos,
        any_value(attention) FILTER (WHERE role = 'self') AS self
    FROM head_roles
    GROUP BY layer, head
) AS r ON s.layer = r.layer AND s.head = r.head
ORDER BY s.layer, s.head;
