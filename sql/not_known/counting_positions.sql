-- Grain: the warehouse, where counting rules were not compared with the position in the sequence.
SELECT
    format(
        'whether {} counting rules beat the position in the sequence; attnrules mine counting finds them anew', count(*)
    ) AS words
FROM counting_rules
WHERE position_gain IS NULL
HAVING count(*) > 0;
