-- Rules whose key fires on a given text, such as a token.
-- Group: tokens and text
-- Needs: rules
-- $text = "the": text in the description of the key, its shares left out
-- $limit = 20: number of rules
SELECT
    head_label(layer, head) || '.' || feature AS feature,
    method,
    rank,
    key_description,
    query_description,
    says,
    evidence,
    round(attn_score, 3) AS attn_score,
    attn_distance,
    round(value_score, 3) AS value_score,
    through_head
FROM rule_texts
WHERE contains(regexp_replace(key_description, '('') \d+%(, |$)', '\1\2', 'g'), $text)
ORDER BY rank, layer, head, rule_texts.feature, through_head
LIMIT $limit;
