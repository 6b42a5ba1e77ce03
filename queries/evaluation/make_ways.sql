-- Grain: a way to predict whose lists are judged together: its name, how its scores are put together, the numbers of rules
-- that are judged, and whether its lists exist even where it found no rule.
-- Makes: ways
CREATE OR REPLACE TEMP TABLE ways AS
SELECT
    unnest($ways::INTEGER[]) AS way,
    unnest($methods::VARCHAR[]) AS method,
    unnest($scalings::VARCHAR[]) AS scaling,
    unnest($aggregations::VARCHAR[]) AS aggregation,
    unnest($grids::INTEGER[][]) AS grid,
    unnest($mined_now::BOOLEAN[]) AS mined_now;
