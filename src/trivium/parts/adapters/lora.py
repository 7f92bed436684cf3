"""Low-rank adaptation (Hu et al. 2022)."""

from collections.abc import Callable, Sequence
from typing import Literal, Self

from pydantic import Field, field_validator

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.lora import ALL_LAYERS, LoraLayer, add_lora, module_names
from trivium.parts.adapters.base import AdapterPart


class LoRA(AdapterPart):
    """W + (alpha / rank) B A on linear layers of the encoder (equation 3); W itself stays.

    One set for all tasks: it stands in for training the encoder. B starts at zero, so training
    starts at the pretrained function. rank * (inputs + outputs) parameters for each layer.
    Prediction costs nothing extra, and `model.lora.merge_lora` makes the result a plain BERT.
    """

    kind: Literal["lora"] = "lora"
    freeze_base: bool = True
    """The encoder's own parameters get no gradient, as in the paper; false: they learn too."""
    rank: int = Field(default=8, gt=0, le=2**16)
    alpha: float | None = Field(default=None, gt=0)
    """Scales the product to alpha / rank; by default the rank, so that the scale is 1 and another
    rank needs no other learning rate."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the layers' input, on its way to A only."""
    start: str | None = None
    """Folder in PEFT's format to begin from; its rank, alpha and layers must be these."""
    on: tuple[LoraLayer, ...] = Field(default=ALL_LAYERS, min_length=1)
    """Which linear layers. The paper adapts query and value; `pooler` is left out by default."""

    @field_validator("on")
    @classmethod
    def _each_once(cls, value: tuple[LoraLayer, ...]) -> tuple[LoraLayer, ...]:
        if len(set(value)) < len(value):
            raise ValueError("names a layer twice")
        return value

    @property
    def begins_with(self) -> str | None:
        return self.start

    def moved(self, place: Callable[[str], str]) -> Self:
        return self if self.start is None else self.model_copy(update={"start": place(self.start)})

    @property
    def shared(self) -> bool:
        return True

    @property
    def tasks(self) -> tuple[str, ...]:
        """It is never for single tasks."""
        return ()

    def attach(self, encoder: Encoder, tasks: Sequence[str]) -> None:
        names = module_names(encoder, self.on)
        add_lora(encoder, names, self.rank, self.alpha or self.rank, self.dropout)

    def count(self, config: EncoderConfig, tasks: Sequence[str]) -> int:
        d, inner = config.hidden_size, config.intermediate_size
        ends = {"intermediate": d + inner, "output": inner + d}
        each = sum(ends.get(name, 2 * d) for name in self.on if name != "pooler")
        pooler = 2 * d if "pooler" in self.on else 0
        return self.rank * (config.num_hidden_layers * each + pooler)
