-- Grain: an input feature active at a position of the text. The name is that of the table, which this connection reads no more:
-- so the statements that evaluate a rule on the corpus evaluate it on the text.
-- Reads: text_inputs
-- Makes: input_activations
CREATE OR REPLACE TEMP VIEW input_activations AS
FROM text_inputs;
