-- Grain: a sequence, and what it is used for; once for all steps.
-- Reads: tokens
-- Makes: sequence_splits
CREATE OR REPLACE TEMP TABLE sequence_splits AS
SELECT
    seq_id,
    sequence_split($seed, seq_id)::ENUM('train', 'test') AS split
FROM tokens
WHERE pos = 0;
