-- Grain: a key that pairs of a mined feature are made with.
CREATE OR REPLACE TEMP TABLE candidate_keys (feature UINTEGER, key_feature UINTEGER, value_score DOUBLE);
