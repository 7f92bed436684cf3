"""LitServe with a model of `transformers` per task, in bf16, on one tokenised batch.

python -m benchmarks.serving.lit_transformers FOLDER --port 8000
"""

from collections.abc import Sequence

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from benchmarks.serving import lit
from benchmarks.serving.answers import LABELS, TASKS, Scores, scored


class Api(lit.Api):
    def load(self, device: str) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(f"{self.folder}/{TASKS[0]}")
        self.models = {
            task: AutoModelForSequenceClassification.from_pretrained(
                f"{self.folder}/{task}", dtype=torch.bfloat16
            )
            .to(device)
            .eval()
            for task in TASKS
        }

    @torch.inference_mode()
    def predict(self, x: Sequence[str]) -> list[Scores]:
        features = self.tokenizer(list(x), return_tensors="pt", padding=True, truncation=True)
        said = {
            task: model(**features).logits.float().softmax(-1).tolist()
            for task, model in self.models.items()
        }
        return scored(LABELS, said, len(x))


if __name__ == "__main__":
    lit.serve(Api, __doc__)
