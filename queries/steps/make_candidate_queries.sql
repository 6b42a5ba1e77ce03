-- Grain: a query that pairs of a mined feature are made with.
CREATE OR REPLACE TEMP TABLE candidate_queries (feature UINTEGER, query_feature UINTEGER);
