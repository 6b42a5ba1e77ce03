-- Grain: a position and a mined feature, with what is true there.
-- Reads: truth
SELECT
    feature,
    place,
    activation,
    rank_from_above
FROM truth
ORDER BY feature, place;
