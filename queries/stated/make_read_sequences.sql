-- Grain: a sequence with a position to judge, once for each feature that it is judged for (`scope`, 0 for all).
-- Reads: judged
-- Makes: read_sequences
CREATE OR REPLACE TEMP TABLE read_sequences AS
SELECT DISTINCT
    scope,
    seq_id
FROM judged;
