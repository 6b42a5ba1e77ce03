-- Grain: a place at which a text stands in the corpus, named by the token that it ends in.
-- Occurrences are counted in the text up to each token: where the count rises one ends. Of the sequences that hold the
-- text the first 500 are looked at, so that a common one takes no longer.
CREATE MACRO text_search(of_text) AS TABLE
WITH given (wanted) AS (SELECT of_text),

texts AS (
    SELECT
        t.seq_id,
        main.joined_text(v.token, v.token_bytes, t.pos) AS whole
    FROM main.tokens AS t
    INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
    WHERE t.pos > 0
    GROUP BY t.seq_id
),

holding AS (
    SELECT
        g.wanted,
        x.seq_id
    FROM given AS g
    INNER JOIN texts AS x ON contains(x.whole, g.wanted)
    WHERE g.wanted <> ''
    QUALIFY row_number() OVER (ORDER BY x.seq_id) <= 500
),

begun AS (
    SELECT
        h.wanted,
        e.seq_id,
        e.pos,
        main.joined_text(v.token, v.token_bytes, t.pos) AS so_far
    FROM holding AS h
    INNER JOIN main.tokens AS e ON h.seq_id = e.seq_id AND e.pos > 0
    INNER JOIN main.tokens AS t ON h.seq_id = t.seq_id AND t.pos <= e.pos AND t.pos > 0
    INNER JOIN main.vocabulary AS v ON t.token_id = v.token_id
    GROUP BY h.wanted, e.seq_id, e.pos
),

counted AS (
    SELECT
        seq_id,
        pos,
        (length(so_far) - length(replace(so_far, wanted, ''))) // length(wanted) AS n
    FROM begun
),

ends AS (
    SELECT
        seq_id,
        pos
    FROM counted
    QUALIFY n > lag(n, 1, 0) OVER (PARTITION BY seq_id ORDER BY pos)
)

SELECT
    e.seq_id,
    e.pos,
    c.before,
    c.token,
    c.after
FROM ends AS e
CROSS JOIN LATERAL (SELECT f.before, f.token, f.after FROM main.context_at(e.seq_id, e.pos) AS f) AS c
UNION ALL BY NAME
-- A branch of its own: an error that is raised wherever the rows are looked for, and when there are none.
SELECT g.wanted AS token
FROM given AS g
WHERE NOT main.answers_here('$warehouse')
ORDER BY seq_id, pos;
COMMENT ON MACRO TABLE text_search IS 'Where a text stands in the corpus, by the token that it ends in, of the first 500 sequences that hold it: FROM text_search(''Montreal'')';
