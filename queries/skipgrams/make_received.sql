-- Grain: a train position that pairs are learnt from, numbered as in `gate_positions`, and a candidate key: `amount` is
-- G[q,i] (method.md section 3.5).
-- Makes: received
CREATE OR REPLACE TEMP TABLE received (
    place INTEGER,
    key_feature INTEGER,
    amount DOUBLE
);
