"""BERT (Devlin et al. 2019), post-norm, on packed text. Shape letters: see `trivium.types`.

Parameters carry Hugging Face's own names, so a checkpoint is loaded and saved without a mapping.
"""

from collections.abc import Iterator, Sequence

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from trivium.model.attention import Layout, Stream, arranged, attention
from trivium.model.fused import layers as fused
from trivium.model.fused.layer import How
from trivium.model.graphs import Graphs
from trivium.model.kernels import Linear, dropout, joined, linear
from trivium.model.native import layers as native
from trivium.model.native.library import Form, Library, fitting
from trivium.model.native.rows import Rows
from trivium.model.native.stack import LayerModules, Stack
from trivium.model.native.task import Shares, Task
from trivium.model.norm import LayerNorm
from trivium.model.pooler import Pooler
from trivium.model.resting import lowest_learning, resting
from trivium.model.sides import Half, Side, Sides
from trivium.part import Part
from trivium.types import Tokens


class EncoderConfig(Part):
    """The shape of a BERT encoder; `config.json` holds it under Hugging Face's names."""

    vocab_size: int = Field(default=30522, gt=0, le=2**24)
    hidden_size: int = Field(default=768, gt=0, le=2**16)
    num_hidden_layers: int = Field(default=12, gt=0, le=1000)
    num_attention_heads: int = Field(default=12, gt=0, le=2**16)
    intermediate_size: int = Field(default=3072, gt=0, le=2**20)
    max_position_embeddings: int = Field(default=512, gt=0, le=2**20)
    type_vocab_size: int = Field(default=2, gt=0, le=2**16)
    layer_norm_eps: float = Field(default=1e-12, gt=0)
    hidden_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    attention_probs_dropout_prob: float = Field(default=0.1, ge=0, lt=1)
    initializer_range: float = Field(default=0.02, gt=0)
    pad_token_id: int = 0
    has_pooler: bool = True

    @model_validator(mode="after")
    def _fits_together(self) -> "EncoderConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"hidden_size {self.hidden_size} is not a multiple of "
                f"num_attention_heads {self.num_attention_heads}"
            )
        if not 0 <= self.pad_token_id < self.vocab_size:
            raise ValueError(f"pad_token_id {self.pad_token_id} is not below vocab_size")
        return self


class Embeddings(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.word_embeddings = nn.Embedding(config.vocab_size, width, config.pad_token_id)
        self.position_embeddings = nn.Embedding(config.max_position_embeddings, width)
        self.token_type_embeddings = nn.Embedding(config.type_vocab_size, width)
        self.LayerNorm = LayerNorm(width, eps=config.layer_norm_eps)
        self.dropout = config.hidden_dropout_prob
        self.rows: Rows | None = None
        """Of the word embedding, while its optimizer wants it to be read by them."""

    def forward(self, tokens: Tokens) -> Tensor:
        words, rows = self.word_embeddings, self.rows
        if rows is not None and rows.weight is words.weight:  # and nothing stands in for it
            x_ND = rows.read(tokens.ids_N, words.padding_idx)
        else:
            x_ND = words(tokens.ids_N)
        x_ND = x_ND + self.position_embeddings(tokens.positions_N)
        x_ND = x_ND + self.token_type_embeddings(tokens.segments_N)
        return dropout(self.LayerNorm(x_ND), self.dropout, training=self.training)


class _Attention(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.query = Linear(width, width)
        self.key = Linear(width, width)
        self.value = Linear(width, width)
        self.heads, self.dropout = config.num_attention_heads, config.attention_probs_dropout_prob

    def forward(self, x_ND: Tensor, groups: Layout) -> Tensor:
        qkv_N3D = linear(x_ND, (self.query, self.key, self.value))
        return attention(qkv_N3D, groups, self.heads, self.dropout if self.training else 0.0)


class _Output(nn.Module):
    """Linear, dropout, residual, LayerNorm: the end of both halves of a layer."""

    def __init__(self, inner: int, config: EncoderConfig, half: Half) -> None:
        super().__init__()
        self.place: Half = half
        self.dense = Linear(inner, config.hidden_size)
        self.LayerNorm = LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.dropout = config.hidden_dropout_prob

    def forward(self, inner_NC: Tensor, x_ND: Tensor, layer: int, sides: Sequence[Side]) -> Tensor:
        update_ND = dropout(self.dense(inner_NC), self.dropout, training=self.training)
        for side in sides:
            update_ND = side.within(layer, self.place, update_ND)
        out_ND: Tensor = self.LayerNorm(x_ND + update_ND)
        return out_ND


class _Intermediate(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.dense = Linear(config.hidden_size, config.intermediate_size)

    def forward(self, x_ND: Tensor) -> Tensor:
        return linear(x_ND, (self.dense,), gelu=True)


class Layer(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.attention = nn.ModuleDict(
            {"self": _Attention(config), "output": _Output(config.hidden_size, config, half=0)}
        )
        self.intermediate = _Intermediate(config)
        self.output = _Output(config.intermediate_size, config, half=1)

    def forward(self, x_ND: Tensor, groups: Layout, index: int, sides: Sequence[Side]) -> Tensor:
        """index: which layer this is, for the task's sides."""
        mixed_ND = self.attention["self"](x_ND, groups)
        a_ND = self.attention["output"](mixed_ND, x_ND, index, sides)
        residual_ND = a_ND
        for side in sides:
            if (beside_ND := side.beside(index, x_ND, groups)) is not None:
                residual_ND = residual_ND + beside_ND
        out_ND: Tensor = self.output(self.intermediate(a_ND), residual_ND, index, sides)
        return out_ND

    def modules_of(self) -> LayerModules:
        """What the layer consists of."""
        own, output = self.attention["self"], self.attention["output"]
        assert isinstance(own, _Attention)
        assert isinstance(output, _Output)
        return LayerModules(
            (own.query, own.key, own.value), output.dense, output.LayerNorm,
            self.intermediate.dense, self.output.dense, self.output.LayerNorm,
        )  # fmt: skip


class _Stack(nn.Module):
    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.layer = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))

    @property
    def layers(self) -> Iterator[Layer]:
        for layer in self.layer:
            assert isinstance(layer, Layer)
            yield layer


class Encoder(nn.Module):
    """Texts to contextual vectors, in two halves: embeddings can be perturbed between them."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.embeddings = Embeddings(config)
        self.encoder = _Stack(config)
        new = Pooler(config.hidden_size, config.initializer_range) if config.has_pooler else None
        self.pooler = new
        self.sides = Sides()
        """What adapters add for single tasks; see `parts.adapters`."""
        self.pooler_is_fresh = False
        """Whether the pooler came with no checkpoint, and so has everything to learn."""
        self.precision: torch.dtype = torch.float32
        """What the layers compute in; parameters stay fp32."""
        self.graphs: Graphs | None = None
        """While each pass is to be one recorded for its size; see `recorded`."""
        self.shares: Shares | None = None
        """While compiled kernels are to keep groups of texts apart on the way back."""

    def embed(self, tokens: Tokens) -> Tensor:
        """Word + position + segment, LayerNorm, dropout: x_ND in fp32."""
        x_ND: Tensor = self.embeddings(tokens)
        return x_ND

    def encode(
        self,
        x_ND: Tensor,
        tokens: Tokens,
        task: str,
        groups: Layout | None = None,
        *,
        first_only: bool = False,
    ) -> Tensor:
        """The layers: hidden_ND in `precision`.

        task: whose sides stand beside them; none for a task without, and for "". groups: how
        attention sees the stream, where the tokens are not packed. first_only: only the texts'
        first tokens will be read, so the last layer need not make the others.
        """
        rest, count = resting(self, self.embeddings, self.encoder.layer), len(self.encoder.layer)
        if rest:
            x_ND = self.passed(x_ND, tokens, task, range(rest), groups)
        return self.passed(x_ND, tokens, task, range(rest, count), groups, first_only=first_only)

    def passed(
        self, x_ND: Tensor, tokens: Tokens, task: str, part: range, groups: Layout | None = None,
        *, first_only: bool = False,
    ) -> Tensor:  # fmt: skip
        """As `encode`, through some of the layers, of which all have dropout or none."""
        if groups is None and (found := self._native(x_ND.device, task)) is not None:
            return native.encode(self._task(found, x_ND, tokens, part, first_only=first_only), x_ND)
        if groups is None and len(part) == len(self.encoder.layer) and self._replays(x_ND, task):
            assert self.graphs is not None
            return self.graphs.encode(x_ND, tokens, self.precision)
        if groups is None:
            is_read = not (self.training or torch.is_grad_enabled())
            groups = arranged(tokens, is_read=is_read)
        return self._through(x_ND.to(self.precision), groups, self.sides.of(task), part)

    def _through(
        self, x_ND: Tensor, groups: Layout, sides: Sequence[Side] = (), part: range | None = None
    ) -> Tensor:
        part = range(len(self.encoder.layer)) if part is None else part
        layers = list(self.encoder.layers)[part.start : part.stop]
        if isinstance(groups, Stream) and not sides and fused.wanted():
            modules = [layer.modules_of() for layer in layers]
            how = How(
                self.config.num_attention_heads, self.config.layer_norm_eps, *self._drops(part)
            )
            if fused.fits(x_ND, modules, how.heads):
                return fused.encode(x_ND, groups, modules, how)
        for index, layer in zip(part, layers, strict=True):
            x_ND = layer(x_ND, groups, index, sides)
        return x_ND

    def _drops(self, part: range) -> tuple[float, float]:
        """Probabilities of dropout in such layers: before a residual, and of attention's."""
        config, drops = self.config, bool(part) and self.encoder.layer[part.start].training
        return drops * config.hidden_dropout_prob, drops * config.attention_probs_dropout_prob

    def forward(self, tokens: Tokens, task: str = "", *, first_only: bool = False) -> Tensor:
        return self.encode(self.embed(tokens), tokens, task, first_only=first_only)

    # --- as recorded graphs ---------------------------------------------------------------------

    def _replays(self, x_ND: Tensor, task: str) -> bool:
        wanted = self.graphs is not None and self.training and torch.is_grad_enabled()
        return wanted and x_ND.requires_grad and not self.sides.of(task)

    def recorded(self) -> Graphs:
        """The layers' passes as graphs: always the same ones. For layers without LoRA."""
        kept: Graphs | None = self.__dict__.get("_kept_graphs")
        if kept is None:
            layers = self.encoder.layers
            groups = [group for layer in layers for group in layer.modules_of().products()]
            kept = Graphs(self._through, groups, joined, list(self.encoder.parameters()))
            self.__dict__["_kept_graphs"] = kept
        return kept

    # --- in compiled kernels --------------------------------------------------------------------

    def _native(self, device: torch.device, task: str) -> Library | None:
        """The compiled kernels, where they have what this pass needs."""
        if device.type != "cpu" or torch.compiler.is_compiling() or self.sides.of(task):
            return None
        config = self.config
        found = fitting(config.hidden_size, config.num_attention_heads, config.intermediate_size)
        if found is None or found.form.numbers != self.precision:
            return None
        return None if self.training and self._stack(found.form).lora_drops else found

    def is_native(self, device: torch.device, task: str) -> bool:
        """Whether compiled kernels pass the layers: no bit of a text depends on its batch then."""
        return self._native(device, task) is not None

    def _stack(self, form: Form) -> Stack:
        """The layers as the kernels take them."""
        kept: Stack | None = self.__dict__.get("_kept_stack")
        if kept is None or kept.form != form:
            kept = Stack([layer.modules_of() for layer in self.encoder.layers], form)
            self.__dict__["_kept_stack"] = kept
        return kept

    def _task(
        self, found: Library, x_ND: Tensor, tokens: Tokens, part: range, *, first_only: bool
    ) -> Task:
        config = self.config
        return Task(
            found, self._stack(found.form), config.num_attention_heads, config.layer_norm_eps,
            *self._drops(part), tokens.lengths_R, part,
            learns_from=lowest_learning(self.encoder.layer, x_ND), first_only=first_only,
            shares=self.shares,
        )  # fmt: skip
