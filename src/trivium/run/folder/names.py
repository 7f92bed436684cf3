"""What the files and folders of a run, an ensemble and a study are called."""

RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
JOURNAL = "journal.jsonl"

SCORES = "scores.json"
MODEL = "model"
RESUME = "resume"
PREDICTIONS = "predictions"
TEACHERS = "teachers"
OURS = [RECIPE, ENVIRONMENT, JOURNAL, SCORES, MODEL, RESUME, PREDICTIONS, TEACHERS]
"""All that the folder of a run holds."""
ENSEMBLE = "ensemble.json"
"""What makes a folder an ensemble's."""
MEMBERS = "members"
"""Folder of an ensemble's models, which are called 0, 1, ..."""

TABLE = "table.json"
"""What makes a folder a study's."""
