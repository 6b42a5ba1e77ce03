-- Grain: one head.
-- Reads: heads
SELECT
    b_K,
    b_Q,
    attn_scale
FROM heads
WHERE layer = $layer AND head = $head;
