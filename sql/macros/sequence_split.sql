-- What a sequence is used for: rules are learnt from two thirds of the corpus, and all positions of the rest are what
-- the example set all_positions is judged on.
CREATE MACRO sequence_split(seed, of_sequence) AS (
    CASE WHEN main.mix32(main.mix32(main.mix32(seed) + 1013904242) + of_sequence) % 3 = 0 THEN 'test' ELSE 'train' END
);
COMMENT ON MACRO sequence_split IS 'train or test: what a sequence is used for: sequence_split(seed, seq_id)';
