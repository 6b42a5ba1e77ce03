-- Grain: a distinct prediction of the first n_rules rules of a feature on a split, with how many positions, and how many
-- active ones, are predicted at least that much.
CREATE OR REPLACE TEMP TABLE judgements AS
SELECT
    levels.*,
    sum(n) OVER downwards AS n_at_least,
    sum(n_active) OVER downwards AS n_active_at_least,
    lead(prediction) OVER downwards AS next_lower
FROM levels
WINDOW
    downwards AS (
        PARTITION BY feature, n_rules, split ORDER BY prediction DESC
        ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW
    );
