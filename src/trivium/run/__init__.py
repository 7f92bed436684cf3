"""The verbs: check, train, evaluate, predict."""
