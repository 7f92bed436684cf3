"""LitServe with our engine: all tasks from one pass.

python -m benchmarks.serving.lit_ours RUN --port 8000
"""

from collections.abc import Sequence

import trivium
from benchmarks.serving import lit
from benchmarks.serving.answers import LABELS, TASKS, Scores, scored


class Api(lit.Api):
    def load(self, device: str) -> None:
        self.model = trivium.load(self.folder, device=device)

    def predict(self, x: Sequence[str]) -> list[Scores]:
        found = self.model.arrays(dict.fromkeys(TASKS, x))
        said = {name: readout_BK.tolist() for name, readout_BK in found.items()}
        return scored(LABELS, said, len(x))


if __name__ == "__main__":
    lit.serve(Api, __doc__)
