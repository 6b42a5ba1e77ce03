"""What you ask of a warehouse, one package per kind of question, each with its SQL beside it.

Knows nothing of torch. `heads` is what every miner starts from; `skipgrams`, `absence` and `counting` find
rules, `evaluation` judges them, `interventions` tests them on the model; `card` gathers one feature,
`questions` holds the named queries.
"""
