-- Grain: a sequence, and what it is used for. Once for all steps: to plan `sequence_split` takes longer than most of them.
-- Reads: tokens
-- Makes: sequence_splits
CREATE OR REPLACE TEMP TABLE sequence_splits AS
SELECT
    seq_id,
    sequence_split($seed, seq_id)::ENUM('train', 'test') AS split
FROM tokens
WHERE pos = 0;
