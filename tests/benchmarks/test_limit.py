"""The limit of training: which products a step has, and how many operations they are."""

from itertools import product as every

import pytest
import torch
from benchmarks.limit import PASSES, PRECISIONS, Product, _ways, limit, products
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from trivium.model.encoder import Encoder, EncoderConfig
from trivium.model.kernels import Linear

TINY = EncoderConfig(
    vocab_size=30, hidden_size=16, num_hidden_layers=3, num_attention_heads=2, intermediate_size=24
)


def test_the_products_read_every_linear_layer_of_the_encoder_three_times() -> None:
    """The encoder's own weights are the reference: six operations per token and weight."""
    layers = [each for each in Encoder(TINY).encoder.modules() if isinstance(each, Linear)]
    weights = sum(layer.weight.numel() for layer in layers)
    found = sum(product.flops for product in products(TINY, 5))
    assert TINY.num_hidden_layers * found == 6 * 5 * weights


def test_a_layer_has_as_many_operations_as_torch_counts_in_training_it() -> None:
    layer, x_ND = nn.Linear(16, 24), torch.randn(5, 16, requires_grad=True)
    with FlopCounterMode(display=False) as counted:
        layer(x_ND).sum().backward()
    flops = sum(Product("any", which, 5, inputs=16, outputs=24).flops for which in PASSES)
    assert flops == counted.get_total_flops() == 3 * 2 * 5 * 16 * 24


@pytest.mark.parametrize(("which", "precision"), list(every(PASSES, PRECISIONS)))
def test_both_ways_make_the_same_product_in_the_shape_of_its_pass(
    which: str, precision: str
) -> None:
    shapes = {PASSES[0]: (5, 24), PASSES[1]: (5, 16), PASSES[2]: (24, 16)}
    torch.manual_seed(0)
    ways = _ways(Product("any", which, 5, 16, 24), PRECISIONS[precision])
    plain = ways["plain"]()
    assert isinstance(plain, torch.Tensor)
    assert plain.shape == shapes[which]
    for way in ways.values():
        made = way()
        assert isinstance(made, torch.Tensor)
        assert made.dtype == PRECISIONS[precision]
        assert torch.allclose(made, plain, rtol=2e-2, atol=2e-2)


def test_the_limit_in_tokens_is_the_one_in_operations() -> None:
    found = limit(TINY, 5, "fp32")
    each = TINY.num_hidden_layers * sum(product.flops for product in products(TINY, 5)) / 5
    assert found.gflops * 1e9 == pytest.approx(found.tokens_per_s * each)
    assert 0 <= found.packed <= len(products(TINY, 5))
