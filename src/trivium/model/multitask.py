"""One shared encoder, a head per task, and hidden layers that several heads may share."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from trivium.model.encoder import Encoder
from trivium.model.kept import KeptTexts
from trivium.model.ownership import side_task
from trivium.model.sides import NamedModules
from trivium.types import Batch, Tokens

Pooling = Literal["cls", "pooler", "mean", "max"]


class Cosine(NamedTuple):
    """A score that is scale * cosine + offset, or the sigmoid of the cosine."""

    scale: float
    offset: float
    sigmoid: bool


class Head(nn.Module, ABC):
    """From contextual vectors to a task's outputs, in two halves.

    `represent` looks at one text, so that a text is encoded once however many rows and tasks ask
    about it; `decide` looks at the one or two texts of a row.
    """

    trunk: str | None = None
    """Name of the hidden layers that this head shares with others; they belong to the model."""
    pooling: Pooling | None = None
    """How it makes a text's vector of the tokens'; None where it does so with layers of its own."""
    can_be_recorded: bool = False
    """Whether `represent` and `decide` do the same operations whatever the numbers are, ask a GPU
    for none of them, and leave out what fills a stream up: then a graph can do them."""

    @abstractmethod
    def represent(self, hidden_ND: Tensor, tokens: Tokens, encoder: Encoder) -> Tensor:
        """One fp32 vector per text: hidden_ND -> vector_RC."""

    def represent_padded(self, hidden_RLD: Tensor, mask_RL: Tensor, encoder: Encoder) -> Tensor:
        """The same of texts on a padded grid, in operations that an exported graph can have.

        mask_RL: bool, true for a text's own tokens, which come first.
        """
        raise NotImplementedError(f"{type(self).__name__}: has no form for graphs")

    @abstractmethod
    def decide(self, vector_BSC: Tensor, trunk: nn.Module | None = None) -> Tensor:
        """The output of each row from its S texts' vectors: output_BK.

        trunk: the module whose name is `self.trunk`; `MultiTaskModel.decide` hands it over.
        """

    def borrow(self, trunk: nn.Module) -> None:
        """Take hold of the trunk, if `represent` already needs it; it stays the model's."""

    def stack(
        self,
        trunk: nn.Module | None = None,  # noqa: ARG002 the seam
    ) -> list[tuple[nn.Linear, bool]] | None:
        """The linear layers, each with whether a GELU follows, that `decide` is for rows of one
        text; None where it is something else. trunk: as for `decide`."""
        return None

    def of_cosine(self) -> Cosine | None:
        """What `decide` makes of the cosine of a pair's vectors, if it sees nothing else."""
        return None

    @property
    def pools(self) -> Pooling | None:
        """The pooling that its vectors are, of the encoder's alone: heads that pool alike have the
        same vectors. None where it makes vectors of its own."""
        return None

    @property
    def reads_first_only(self) -> bool:
        """Whether of each text it reads no token but the first: [CLS]."""
        return self.pools in ("cls", "pooler")

    @property
    def origin(self) -> str | None:
        """Where it starts, in words; None of a head that is merely drawn."""
        return None

    @property
    def wants_counts(self) -> bool:
        """Whether `start_from_counts` shall be called before it is trained."""
        return False

    def start_from(self, folder: Path) -> None:
        """Take what the encoder's checkpoint has for such a head, if it has anything.

        Raises RecipeError for tensors that do not fit.
        """

    def start_from_counts(self, count_V: Tensor) -> None:
        """Hear how often each word piece stands in the task's training texts."""


class Shared(NamedTuple):
    """A parameter that several tasks can reach."""

    name: str
    """In the encoder, or in its trunk."""
    parameter: nn.Parameter
    trunk: str | None = None
    """The trunk that it belongs to; None of the encoder's."""


class MultiTaskModel(nn.Module):
    """The heads' outputs on one encoder; a trunk is the hidden layers of all heads that name it."""

    def __init__(
        self,
        encoder: Encoder,
        heads: Mapping[str, Head],
        trunks: Mapping[str, nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.heads = NamedModules(dict(heads))
        self.trunks = NamedModules(dict(trunks or {}))
        wanted = {head.trunk for head in heads.values()} - {None}
        assert wanted == set(self.trunks.keys()), "a trunk for every name, a name for every trunk"
        for head in heads.values():
            if head.trunk is not None:
                head.borrow(self.trunks[head.trunk])
        self.kept: KeptTexts | None = None
        """While what the resting part makes of a text is to be computed only once."""

    def head(self, task: str) -> Head:
        head = self.heads[task]
        assert isinstance(head, Head)
        return head

    def forward(self, batch: Batch) -> Tensor:
        """Outputs of a batch: output_BK."""
        head, tokens = self.head(batch.task), batch.tokens
        vector_RC = self.kept_pooled(tokens, batch.task, head.pools)
        if vector_RC is not None:
            return self._answer(batch, vector_RC)
        return self.finish(batch, self.hidden(tokens, batch.task, first_only=head.reads_first_only))

    def encode(self, x_ND: Tensor, batch: Batch) -> Tensor:
        """Contextual vectors of a batch's embeddings; at least those that its head reads."""
        first_only = self.head(batch.task).reads_first_only
        return self.encoder.encode(x_ND, batch.tokens, batch.task, first_only=first_only)

    def finish(self, batch: Batch, hidden_ND: Tensor) -> Tensor:
        """Outputs from contextual vectors, which may have been perturbed on their way."""
        vector_RC = self.head(batch.task).represent(hidden_ND, batch.tokens, self.encoder)
        return self._answer(batch, vector_RC)

    def _answer(self, batch: Batch, vector_RC: Tensor) -> Tensor:
        # Pairs encoded apart are stacked: all firsts, then all seconds.
        rows = len(batch.target_B)
        vector_BSC = vector_RC.view(-1, rows, vector_RC.shape[1]).transpose(0, 1)
        return self.decide(batch.task, vector_BSC)

    # --- with a part that rests -----------------------------------------------------------------

    def hidden(self, tokens: Tokens, task: str, *, first_only: bool = False) -> Tensor:
        """Contextual vectors of texts, from what is kept of them if anything is, to the bit."""
        encoder, kept = self.encoder, self._kept_of(tokens, task)
        if kept is None:
            all_ND: Tensor = encoder(tokens, task, first_only=first_only)
            return all_ND
        x_ND = kept.of_tokens("tokens", tokens, self._resting(kept.layers))
        above = range(kept.layers, len(encoder.encoder.layer))
        return encoder.passed(x_ND, tokens, task, above, first_only=first_only) if above else x_ND

    def kept_pooled(self, tokens: Tokens, task: str, how: Pooling | None) -> Tensor | None:
        """What `pool` makes of texts, where all of the encoder rests and that is kept."""
        encoder, kept = self.encoder, self._kept_of(tokens, task)
        if kept is None or how is None or kept.layers < len(encoder.encoder.layer):
            return None
        first_only = how in ("cls", "pooler")
        lasting: Pooling = "cls" if first_only else how  # a pooler may learn
        hidden = self._resting(kept.layers, first_only=first_only)
        vector_RD = kept.of_texts(lasting, tokens, lambda t: pool(hidden(t), t, encoder, lasting))
        if how != "pooler":
            return vector_RD
        assert encoder.pooler is not None
        pooled_RD: Tensor = encoder.pooler(vector_RD)
        return pooled_RD

    def _kept_of(self, tokens: Tokens, task: str) -> KeptTexts | None:
        """Where such texts are kept: if they come again, and come out alike in any batch."""
        again = tokens.asked_M is None and len(tokens.lengths_R) > 1  # one is pooled another way
        device = tokens.ids_N.device
        may = self.kept is not None and again and self.encoder.is_native(device, task)
        return self.kept if may else None

    def _resting(self, layers: int, *, first_only: bool = False) -> Callable[[Tokens], Tensor]:
        """What the embeddings and so many layers make of texts."""
        encoder = self.encoder

        @torch.no_grad()
        def made(tokens: Tokens) -> Tensor:
            x_ND = encoder.embed(tokens)
            return encoder.passed(x_ND, tokens, "", range(layers), first_only=first_only)

        return made

    def decide(self, task: str, vector_BSC: Tensor) -> Tensor:
        """A task's outputs from its texts' vectors, through its trunk if it has one: output_BK."""
        return self.head(task).decide(vector_BSC, self.trunk_of(task))

    def trunk_of(self, task: str) -> nn.Module | None:
        """The hidden layers that the task's head shares with others."""
        trunk = self.head(task).trunk
        return self.trunks[trunk] if trunk else None

    def shared_parameters(self) -> Iterator[Shared]:
        """What several tasks can reach: the encoder without per-task sides, then the trunks.

        All of it, in the model's order, also what requires no gradient now.
        """
        for name, parameter in self.encoder.named_parameters():
            if side_task(name) is None:
                yield Shared(name, parameter)
        for trunk, module in self.trunks.items():
            for name, parameter in module.named_parameters():
                yield Shared(name, parameter, trunk)


def pool(hidden_ND: Tensor, tokens: Tokens, encoder: Encoder, how: Pooling) -> Tensor:
    """One fp32 vector per text: hidden_ND -> pooled_RD.

    cls: the first token; pooler: BERT's tanh layer on it; mean and max: over the text's tokens,
    special tokens included.
    """
    lengths_R = tokens.lengths_R
    if how in ("cls", "pooler"):
        cls_RD = hidden_ND.index_select(0, lengths_R.cumsum(0) - lengths_R).float()
        if how == "cls":
            return cls_RD
        assert encoder.pooler is not None, "build gives every model that asks for one a pooler"
        pooled_RD: Tensor = encoder.pooler(cls_RD)
        return pooled_RD
    if tokens.is_filled:
        return _pool_filled(hidden_ND.float(), lengths_R, how)
    if how == "mean" and len(lengths_R) == 1:
        return hidden_ND.float().mean(0, keepdim=True)
    row_N = torch.arange(len(lengths_R), device=lengths_R.device)
    row_N = row_N.repeat_interleave(lengths_R, output_size=len(hidden_ND))
    if how == "mean":
        total_RD = hidden_ND.new_zeros(len(lengths_R), hidden_ND.shape[1], dtype=torch.float32)
        return total_RD.index_add(0, row_N, hidden_ND.float()) / lengths_R[:, None]
    lowest_RD = hidden_ND.new_full(
        (len(lengths_R), hidden_ND.shape[1]), -torch.inf, dtype=torch.float32
    )
    index_ND = row_N[:, None].expand_as(hidden_ND)
    return lowest_RD.scatter_reduce(0, index_ND, hidden_ND.float(), "amax")


def _pool_filled(hidden_ND: Tensor, lengths_R: Tensor, how: Pooling) -> Tensor:
    """mean or max of texts that end before their stream does, which only the device knows."""
    if how == "mean":  # text by text, and so in one order on a GPU, too
        return torch.segment_reduce(hidden_ND, "mean", lengths=lengths_R, unsafe=True)
    # Its maximum shares a gradient out only where that is above 0. Here one more row is the rest's.
    place_N = torch.arange(len(hidden_ND), device=lengths_R.device)
    row_N = torch.searchsorted(lengths_R.cumsum(0), place_N, right=True)
    lowest_RD = hidden_ND.new_full((len(lengths_R) + 1, hidden_ND.shape[1]), -torch.inf)
    index_ND = row_N[:, None].expand_as(hidden_ND)
    return lowest_RD.scatter_reduce(0, index_ND, hidden_ND, "amax")[:-1]


def pool_padded(hidden_RLD: Tensor, mask_RL: Tensor, encoder: Encoder, how: Pooling) -> Tensor:
    """As `pool`, of texts on a padded grid: hidden_RLD -> pooled_RD."""
    if how in ("cls", "pooler"):
        cls_RD = hidden_RLD[:, 0]
        if how == "cls":
            return cls_RD
        assert encoder.pooler is not None, "build gives every model that asks for one a pooler"
        pooled_RD: Tensor = encoder.pooler(cls_RD)
        return pooled_RD
    if how == "max":
        return hidden_RLD.masked_fill(~mask_RL[:, :, None], -torch.inf).amax(1)
    weight_RL1 = mask_RL[:, :, None].to(hidden_RLD.dtype)
    return (hidden_RLD * weight_RL1).sum(1) / weight_RL1.sum(1)
