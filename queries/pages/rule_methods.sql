-- Grain: a method whose rules of this head have keys.
-- Reads: rules
SELECT DISTINCT method
FROM rules
WHERE layer = $layer AND head = $head
ORDER BY method;
