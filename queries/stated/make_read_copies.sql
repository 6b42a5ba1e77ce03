-- Grain: a position to judge and an earlier position after BOS at which its token stood.
-- Reads: judged, read_tokens
-- Makes: read_copies
CREATE OR REPLACE TEMP TABLE read_copies AS
SELECT
    j.place,
    j.scope,
    j.seq_id,
    j.pos,
    k.pos AS copy_pos
FROM judged AS j
INNER JOIN read_tokens AS t ON j.scope = t.scope AND j.seq_id = t.seq_id AND j.pos = t.pos
INNER JOIN read_tokens AS k ON t.scope = k.scope AND t.seq_id = k.seq_id AND t.token_id = k.token_id AND t.pos > k.pos
WHERE k.pos > 0;
