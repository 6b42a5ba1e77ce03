-- The table of the warehouse is read again.
DROP VIEW temp.input_activations;
