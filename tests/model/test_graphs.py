"""What recorded passes are made for, and the copies that they read; the passes need a GPU."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tensors import packed
from trivium.model.copies import Renewed
from trivium.model.graphs import SWITCH, Size, wanted
from trivium.model.kernels import Linear, joined, linear

LENGTHS = st.lists(st.integers(1, 512), min_size=1, max_size=60)


@given(LENGTHS)
def test_a_size_holds_its_stream_and_is_an_eighth_larger_at_most(lengths: list[int]) -> None:
    size = Size.of(packed([[1] * length for length in lengths]))
    count = sum(lengths)
    assert count <= size.tokens <= max(count * 9 / 8, count + 7)
    assert size.texts == len(lengths)
    assert size.longest >= max(lengths)


@given(LENGTHS)
def test_texts_of_zeros_fill_a_stream_up_and_none_is_too_long(lengths: list[int]) -> None:
    size = Size.of(packed([[1] * length for length in lengths]))
    starts = size.starts(torch.tensor(lengths))
    assert starts.dtype == torch.int32
    assert starts[0] == 0
    assert starts[-1] == size.tokens
    found = starts.diff()
    assert found[: len(lengths)].tolist() == lengths
    assert found.min() >= 0
    assert found.max() <= size.longest


def test_streams_of_one_size_have_equally_many_starts() -> None:
    """By hand: 200 and 204 tokens are filled up to 208, whose eighth is less than one text."""
    first, second = [100, 100], [1, 203]
    sizes = [Size.of(packed([[1] * n for n in lengths])) for lengths in (first, second)]
    assert [size.tokens for size in sizes] == [208, 208]
    assert [size.longest for size in sizes] == [128, 256]
    assert sizes[0].starts(torch.tensor(first)).tolist() == [0, 100, 200, 208]
    assert sizes[1].starts(torch.tensor(second)).tolist() == [0, 1, 204, 208]


def test_copies_are_renewed_where_they_stand() -> None:
    torch.manual_seed(0)
    one, two, alone = Linear(8, 4), Linear(8, 6), Linear(8, 8)
    groups = [(one, two), (alone,)]
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    for parts in groups:
        linear(x, parts)  # makes them
    copies = Renewed(groups, joined)
    copies.renew()
    weight, bias = one.__dict__["_remade"][joined][1:]
    place = weight.data_ptr()
    with torch.no_grad():
        for layer in (one, two, alone):
            layer.weight.mul_(3.0)
            layer.bias.sub_(1.0)
    copies.renew()
    assert weight.data_ptr() == place
    assert torch.equal(weight, torch.cat([one.weight, two.weight]).bfloat16())
    assert torch.equal(bias, torch.cat([one.bias, two.bias]).bfloat16())
    assert torch.equal(alone.__dict__["_remade"][joined][1], alone.weight.bfloat16())


def test_copies_that_were_made_anew_elsewhere_are_found_again() -> None:
    layer = Linear(8, 4)
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    linear(x, (layer,))
    copies = Renewed([(layer,)], joined)
    copies.renew()
    with torch.no_grad():
        layer.weight.add_(1.0)
    linear(x, (layer,))  # on a CPU in another place
    with torch.no_grad():
        layer.weight.add_(1.0)
    copies.renew()
    assert torch.equal(layer.__dict__["_remade"][joined][1], layer.weight.bfloat16())


def test_copies_that_were_renewed_are_not_made_again() -> None:
    """Neither after `renew`, nor where a graph has copied and somebody counts it."""
    one, two = Linear(8, 4), Linear(8, 6)
    x = torch.randn(3, 8, dtype=torch.bfloat16)
    copies = Renewed([(one, two)], joined)
    assert not copies.are_made
    linear(x, (one, two))
    assert copies.are_made
    copies.renew()
    weight, bias = one.__dict__["_remade"][joined][1:]
    for renew in (copies.renew, copies.copy):
        with torch.no_grad():
            for layer in (one, two):
                layer.weight.mul_(3.0)
                layer.bias.add_(1.0)
        renew()
        copies.count()
        linear(x, (one, two))
        assert one.__dict__["_remade"][joined][1] is weight
        assert torch.equal(weight, torch.cat([one.weight, two.weight]).bfloat16())
        assert torch.equal(bias, torch.cat([one.bias, two.bias]).bfloat16())
    assert copies.addresses == [weight.data_ptr()]


def test_a_filled_stream_is_laid_out_as_its_texts_and_those_that_fill_it_up() -> None:
    size = Size.of(packed([[1] * 100, [1] * 103]))
    groups = size.layout(torch.tensor([100, 103]))
    assert isinstance(groups, list)
    assert sorted(n for group in groups for n in group.tokens_n.tolist()) == list(range(208))


@pytest.mark.parametrize(
    ("said", "meant"),
    [("0", "none"), ("layers", "layers"), ("all", "all"), ("1", "all"), (None, "all")],
)
def test_the_environment_says_what_is_recorded(
    said: str | None, meant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(SWITCH, raising=False)
    if said is not None:
        monkeypatch.setenv(SWITCH, said)
    assert wanted() == meant
