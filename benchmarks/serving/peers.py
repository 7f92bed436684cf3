"""The same model for `transformers`: whole, once per task."""

from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, logging

from benchmarks.serving.answers import LABELS, TASKS
from benchmarks.serving.models import linear
from trivium.run.folder.model import load_model
from trivium.run.folder.names import MODEL


def make_peers(run: Path, folder: Path) -> Path:
    """A folder per task with a whole model for `transformers`, which answers as ours does."""
    logging.set_verbosity_error()  # that heads are new is known here, and no bars
    logging.disable_progress_bar()
    loaded = load_model(run / MODEL)
    names = dict(enumerate(LABELS))
    for name in TASKS:
        peer = AutoModelForSequenceClassification.from_pretrained(
            run / MODEL, num_labels=len(LABELS), id2label=names, dtype=torch.float32
        )
        peer.classifier.load_state_dict(linear(loaded.model, name).state_dict())
        peer.save_pretrained(folder / name)
        AutoTokenizer.from_pretrained(run / MODEL).save_pretrained(folder / name)
    return folder
