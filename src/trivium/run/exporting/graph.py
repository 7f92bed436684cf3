"""The model as one function of padded texts, with an output per task: what a graph is made of.

Shape letters: see `trivium.types`; P pairs.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trivium.model.attention import Grid
from trivium.model.lora import merge_lora
from trivium.model.multitask import MultiTaskModel, pool_padded
from trivium.parts.tasks import Task
from trivium.types import Tokens

TEXTS = ("input_ids", "attention_mask", "token_type_ids")
"""The inputs that every graph has, int64 [R, L]: as `transformers` calls them."""
PAIRS = "pairs"
"""The input of graphs with tasks on pairs encoded apart, int64 [P, 2]: the rows among the R texts
of each pair's first and second text."""
EMBEDDING = "embedding"


@dataclass(frozen=True, slots=True)
class Names:
    """What a graph's inputs and outputs are called."""

    inputs: tuple[str, ...]
    outputs: Mapping[str, str]
    """Task to output, in the graph's order."""
    embedding: str
    """The output with the mean of each text's vectors, which comes last."""

    @property
    def in_order(self) -> list[str]:
        return [*self.outputs.values(), self.embedding]


def names_of(tasks: Mapping[str, Task]) -> Names:
    """An output is called as its task, unless an input is called so; of tasks that have answers."""
    asked = {name: task for name, task in tasks.items() if task.answers_questions}
    apart = any(task.sequences == 2 for task in asked.values())
    inputs = (*TEXTS, PAIRS) if apart else TEXTS
    taken = {*asked, *TEXTS, PAIRS}
    outputs = {}
    for name in asked:
        outputs[name] = _free(name, taken) if name in (*TEXTS, PAIRS) else name
        taken.add(outputs[name])
    return Names(inputs, outputs, _free(EMBEDDING, taken))


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name = f"_{name}"
    return name


class Graph(nn.Module):
    """Padded texts to every task's readout and the embedding, by the model's own modules.

    LoRA is merged into the model that is given, for good.
    """

    def __init__(self, model: MultiTaskModel, tasks: Mapping[str, Task]) -> None:
        super().__init__()
        merge_lora(model.encoder)
        self.model = model
        self.tasks = {name: task for name, task in tasks.items() if task.answers_questions}

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor,
        token_type_ids: Tensor,
        pairs: Tensor | None = None,
    ) -> tuple[Tensor, ...]:
        """readout_RK of each task (readout_PK of one on pairs apart), and embedding_RD."""
        encoder = self.model.encoder
        mask_RL = attention_mask > 0
        hidden: dict[str, Tensor] = {}
        for own in ["", *(name for name in self.tasks if encoder.sides.of(name))]:
            hidden[own] = self._hidden(input_ids, mask_RL, token_type_ids, own)
        readouts = []
        for name, task in self.tasks.items():
            hidden_RLD = hidden.get(name, hidden[""])
            vector_RC = self.model.head(name).represent_padded(hidden_RLD, mask_RL, encoder)
            vector_BSC = vector_RC[:, None]
            if task.sequences == 2:
                assert pairs is not None, "graphs with such tasks have this input"
                vector_BSC = vector_RC.index_select(0, pairs.flatten()).view(pairs.shape[0], 2, -1)
            readouts.append(task.readout(self.model.decide(name, vector_BSC)))
        return (*readouts, pool_padded(hidden[""], mask_RL, encoder, "mean"))

    def _hidden(self, ids_RL: Tensor, mask_RL: Tensor, segments_RL: Tensor, own: str) -> Tensor:
        """Contextual vectors, with the sides of the task `own`: hidden_RLD."""
        encoder = self.model.encoder
        texts, longest = ids_RL.shape
        position_RL = torch.arange(longest, device=ids_RL.device).expand(texts, longest)
        tokens = Tokens(ids_RL, position_RL, segments_RL, mask_RL.sum(1), longest)
        lowest = torch.finfo(torch.float32).min  # infinity would make rows of padding alone NaN
        hidden_mask_RL = torch.zeros_like(mask_RL, dtype=torch.float32).masked_fill(
            ~mask_RL, lowest
        )
        grid = Grid(hidden_mask_RL[:, None])
        return encoder.encode(encoder.embed(tokens), tokens, own, grid)
