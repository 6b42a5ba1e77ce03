-- Grain: a key that pairs of a mined feature are made with.
-- Makes: candidate_keys
CREATE OR REPLACE TEMP TABLE candidate_keys (feature INTEGER, key_feature INTEGER, value_score DOUBLE);
