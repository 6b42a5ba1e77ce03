-- Grain: one head.
-- Reads: heads
SELECT
    b_V,
    decoder_bias_value
FROM heads
WHERE layer = $layer AND head = $head;
