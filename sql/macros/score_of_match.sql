-- What one match of a rule adds, by how its method scores (method.md section 5.1): `product` with a query (a_q a_k S)(a_k V),
-- `linear` (a_q a_k S) V, without a query a_k V; `own` what the rule says of all its matches; `carried` V times what attention
-- carries of the key. Activations are scaled as the rule is; query_activation is NULL where the rule has no query.
CREATE MACRO score_of_match(
    match_score, rule_score, attn_score, value_score, key_activation, query_activation, carried_activation
) AS CASE
    WHEN match_score = 'carried' THEN value_score * carried_activation
    WHEN match_score = 'own' THEN rule_score
    WHEN query_activation IS NULL THEN key_activation * value_score
    WHEN match_score = 'linear' THEN (query_activation * key_activation * attn_score) * value_score
    ELSE (query_activation * key_activation * attn_score) * (key_activation * value_score)
END;
COMMENT ON MACRO score_of_match IS 'What one match of a rule adds, by methods.match_score; no query_activation where the rule has no query: score_of_match(''product'', score, attn_score, value_score, 1.5, 2.0, NULL)';
