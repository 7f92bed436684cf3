"""What the files and folders of a run, an ensemble and a study are called."""

RECIPE = "recipe.yaml"
ENVIRONMENT = "environment.json"
JOURNAL = "journal.jsonl"

SCORES = "scores.json"
MODEL = "model"
RESUME = "resume"
PREDICTIONS = "predictions"
TEACHERS = "teachers"
DATA = "data.json"
AFFINITY = "affinity.json"
GIVEN = "tables"
"""Tables that Python held when the run began: only their own files there are a run's."""
CALIBRATION = "calibration.json"
"""What `trivium calibrate` found, before and after; the model's own file says what follows."""
OURS = [
    RECIPE, ENVIRONMENT, JOURNAL, SCORES, MODEL, RESUME, PREDICTIONS, TEACHERS, DATA, CALIBRATION,
    AFFINITY,
]  # fmt: skip
"""All that the folder of a run holds."""
REPLACED = ".replaced"
"""In a run's folder: the run that was there, until the new one has its first checkpoint."""
ENSEMBLE = "ensemble.json"
"""What makes a folder an ensemble's."""
MEMBERS = "members"
"""Folder of an ensemble's models, which are called 0, 1, ..."""

MANIFEST = "trivium.json"
"""What makes a folder a model's: it holds the sha256 of every other file. The encoder's own files
there have the names that Hugging Face gives them (`model.pretrained`)."""
HEADS = "heads.safetensors"
"""Of a model; with its trunks."""
CARD = "README.md"
"""Of a model: for people, who may change it, so that no folder is sealed with it."""
ADAPTERS = "adapters.safetensors"

ONNX = "model.onnx"
OPENVINO = "model.xml"
"""Of an exported folder, beside its MANIFEST and tokenizer; OpenVINO's weights stand beside it."""

STATE = "state.json"
STATE_TENSORS = "state.safetensors"
"""The two files of a checkpoint in RESUME."""

TENSORS = ".safetensors"
"""Ending of a file in TEACHERS, which is called after its lesson."""

PARITY, EXAMPLE = "parity.json", "example.py"
"""Of an exported graph: how far it is from the model, and how it is asked."""

TABLE = "table.json"
"""What makes a folder a study's."""


def predictions_file(task: str, split: str) -> str:
    """Where a run's folder has the answers to a split of a task."""
    return f"{PREDICTIONS}/{task}-{split}.csv"
