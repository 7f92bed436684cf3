"""What trains: worked out by hand for an encoder of three layers, and properties for any."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.parts.trainable import (
    EMBEDDINGS,
    BitFit,
    Frozen,
    Full,
    Gradual,
    Top,
    Trainable,
    TrainablePart,
    layer_of,
)

SMALL = {"vocab_size": 9, "hidden_size": 4, "num_attention_heads": 2, "intermediate_size": 6}
MOST = 4
ENCODERS = {
    layers: Encoder(EncoderConfig(num_hidden_layers=layers, max_position_embeddings=5, **SMALL))
    for layers in range(1, MOST + 1)
}
NAMES = {
    layers: [name for name, _ in encoder.named_parameters()] for layers, encoder in ENCODERS.items()
}
BLOCKS = {
    "embeddings.": -1,
    "encoder.layer.0.": 0,
    "encoder.layer.1.": 1,
    "encoder.layer.2.": 2,
    "pooler.": 2,
}
"""Of three layers, with the layer that each stands for."""


def trained(part: TrainablePart, epochs_done: float = 0.0, layers: int = 3) -> list[str]:
    return [name for name in NAMES[layers] if part.trains(name, layers, epochs_done)]


def within(*prefixes: str) -> list[str]:
    return [name for name in NAMES[3] if name.startswith(prefixes)]


def choose(settings: object) -> TrainablePart:
    part = TypeAdapter[Any](Trainable).validate_python(settings)
    assert isinstance(part, TrainablePart)
    return part


def test_every_parameter_of_an_encoder_has_its_layer() -> None:
    for name in NAMES[3]:
        (expected,) = (layer for prefix, layer in BLOCKS.items() if name.startswith(prefix))
        assert layer_of(name, 3) == expected
    assert EMBEDDINGS == -1


def test_a_layers_number_may_have_several_digits() -> None:
    assert layer_of("encoder.layer.11.output.dense.bias", 12) == 11
    assert layer_of("pooler.dense.bias", 12) == 11


@pytest.mark.parametrize(
    "name",
    [
        "encoder.layer.3.output.dense.bias",
        "encoder.layer.x.output.dense.bias",
        "encoder.norm.bias",
        "sides.pal.sentiment.down.weight",
        "embeddingsx.weight",
        "",
    ],
)
def test_a_name_that_is_no_encoders_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="encoder of 3 layers"):
        layer_of(name, 3)


def test_full_trains_everything_and_frozen_nothing() -> None:
    assert trained(Full()) == NAMES[3]
    assert trained(Frozen()) == []


def test_bitfit_trains_the_biases_of_linear_layers_and_of_layer_norm() -> None:
    inner = [
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "attention.output.LayerNorm",
        "intermediate.dense",
        "output.dense",
        "output.LayerNorm",
    ]
    expected = {"embeddings.LayerNorm.bias", "pooler.dense.bias"}
    expected |= {f"encoder.layer.{layer}.{part}.bias" for layer in range(3) for part in inner}
    assert set(trained(BitFit())) == expected


@pytest.mark.parametrize(
    ("count", "prefixes"),
    [
        (1, ("encoder.layer.2.", "pooler.")),
        (2, ("encoder.layer.1.", "encoder.layer.2.", "pooler.")),
        (3, ("encoder.", "pooler.")),
        (4, ("encoder.", "pooler.")),
    ],
)
def test_top_trains_the_highest_layers_and_never_the_embeddings(
    count: int, prefixes: tuple[str, ...]
) -> None:
    assert trained(Top(layers=count)) == within(*prefixes)


@pytest.mark.parametrize(
    ("epochs_done", "prefixes"),
    [
        (0.0, ("encoder.layer.2.", "pooler.")),
        (1.99, ("encoder.layer.2.", "pooler.")),
        (2.0, ("encoder.layer.1.", "encoder.layer.2.", "pooler.")),
        (3.99, ("encoder.layer.1.", "encoder.layer.2.", "pooler.")),
        (4.0, ("encoder.", "pooler.")),
        (5.99, ("encoder.", "pooler.")),
        (6.0, ("",)),
        (100.0, ("",)),
    ],
)
def test_gradual_thaws_from_the_top_down_and_the_embeddings_last(
    epochs_done: float, prefixes: tuple[str, ...]
) -> None:
    assert trained(Gradual(every=2), epochs_done) == within(*prefixes)


def test_gradual_thaws_one_layer_an_epoch_by_default() -> None:
    assert trained(Gradual(), 0.99) == within("encoder.layer.2.", "pooler.")
    assert trained(Gradual(), 1.0) == within("encoder.layer.1.", "encoder.layer.2.", "pooler.")


def test_a_layer_joins_at_the_very_step_despite_rounding() -> None:
    assert 3 / 10 / 0.1 < 3  # what this is about
    name = NAMES[4][0]
    part = Gradual(every=0.1)
    assert [part.trains(name, 4, step / 10) for step in range(6)] == [False] * 4 + [True] * 2
    assert part.trains("encoder.layer.0.output.dense.bias", 4, 3 / 10)


PARTS = st.one_of(
    st.just(Full()),
    st.just(Frozen()),
    st.just(BitFit()),
    st.builds(Top, layers=st.integers(1, MOST)),
    st.builds(Gradual, every=st.floats(0.05, 3)),
)
EPOCHS = st.floats(0, 20)


@given(PARTS, st.integers(1, MOST), EPOCHS, EPOCHS)
def test_what_trains_only_grows_up_to_what_ever_trains(
    part: TrainablePart, layers: int, one: float, other: float
) -> None:
    early, late = sorted((one, other))
    ever = [name for name in NAMES[layers] if part.ever_trains(name, layers)]
    assert set(trained(part, early, layers)) <= set(trained(part, late, layers)) <= set(ever)
    assert trained(part, 3.0 * (MOST + 1), layers) == ever
    if not part.changes:
        assert trained(part, early, layers) == trained(part, late, layers)


@given(st.floats(0.05, 3), st.integers(1, MOST), EPOCHS)
def test_gradual_trains_whole_layers_from_some_layer_on(
    every: float, layers: int, epochs_done: float
) -> None:
    found = trained(Gradual(every=every), epochs_done, layers)
    lowest = min(layer_of(name, layers) for name in found)
    assert found == [name for name in NAMES[layers] if layer_of(name, layers) >= lowest]


def test_only_gradual_changes_with_time() -> None:
    parts = [Full(), Frozen(), BitFit(), Top(layers=1), Gradual()]
    assert [part.changes for part in parts] == [False, False, False, False, True]


def test_more_top_layers_than_the_encoder_has_are_refused() -> None:
    Top(layers=3).check(3)
    with pytest.raises(ValueError, match=r"the top 4 .* has 3\. Say 3 at most, or `full`"):
        Top(layers=4).check(3)
    for part in (Full(), Frozen(), BitFit(), Gradual(every=50)):
        part.check(1)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"kind": "full"}, Full()),
        ({"kind": "frozen"}, Frozen()),
        ({"kind": "bitfit"}, BitFit()),
        ({"kind": "top", "layers": 2}, Top(layers=2)),
        ({"kind": "gradual"}, Gradual(every=1.0)),
        ({"kind": "gradual", "every": 0.5}, Gradual(every=0.5)),
    ],
)
def test_a_recipe_chooses_by_kind(settings: dict[str, object], part: TrainablePart) -> None:
    assert choose(settings) == part


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"kind": "top"}, "layers"),
        ({"kind": "top", "layers": 0}, "layers"),
        ({"kind": "gradual", "every": 0}, "every"),
        ({"kind": "full", "layers": 2}, "layers"),
        ({"kind": "half"}, "'gradual'"),
    ],
)
def test_impossible_choices_are_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        choose(settings)
