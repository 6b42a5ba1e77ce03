-- Grain: a judged position and a list of rules, with prediction and truth. With every position of the corpus judged, only
-- those with a prediction or an activation are rows. `n_above` and `n_at_least` count the rows of the list and split that
-- are predicted more, and at least as much.
-- Makes: judged_rows
CREATE OR REPLACE TEMP TABLE judged_rows (
    list INTEGER,
    split ENUM('train', 'val', 'test'),
    place INTEGER,
    prediction DOUBLE,
    activation DOUBLE,
    rank_from_above DOUBLE,
    n_above INTEGER,
    n_at_least INTEGER
);
