-- Grain: a way to predict an output feature. Rows come from sql/methods.py.
CREATE TABLE methods (
    method VARCHAR NOT NULL,
    kind VARCHAR NOT NULL,
    meaning VARCHAR NOT NULL,
    match_score VARCHAR,
    shares_rank VARCHAR
);
COMMENT ON TABLE methods IS 'Ways to find and rank rules, and what they are compared with';
COMMENT ON COLUMN methods.method IS 'Name in the column method of other tables';
COMMENT ON COLUMN methods.kind IS 'rules, baseline or ceiling';
COMMENT ON COLUMN methods.meaning IS 'What it predicts from';
COMMENT ON COLUMN methods.match_score IS 'What one match of a rule scores: product (a_q a_k S)(a_k V), without a query a_k V; linear (a_q a_k S) V; own, the score of the rule; carried, V times what attention carries, and predictions are sums; holds, the weight of a rule where its statement holds, and predictions add weights to the log-odds. NULL for what has no rules';
COMMENT ON COLUMN methods.shares_rank IS 'What tells the rows of one rule apart, which share its rank: key, or key and query. NULL where a rule is one row';
