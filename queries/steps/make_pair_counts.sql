-- Grain: a candidate pair of a mined feature, with the positions after BOS where it matches and, as hits, where the feature
-- is active too; of the whole corpus and of its train part.
CREATE OR REPLACE TEMP TABLE pair_counts (
    feature UINTEGER,
    key_feature UINTEGER,
    query_feature UINTEGER,
    n_matches BIGINT,
    n_train_matches BIGINT,
    n_hits BIGINT,
    n_train_hits BIGINT
);
