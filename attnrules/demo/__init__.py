"""The embedded demo: a small trained model, its SAEs, and the corpus they were trained on."""
