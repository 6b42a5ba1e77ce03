-- Grain: a query that pairs of a mined feature are made with.
-- Makes: candidate_queries
CREATE OR REPLACE TEMP TABLE candidate_queries (feature INTEGER, query_feature INTEGER);
