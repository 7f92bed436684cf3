"""Several tasks' batches of a step in one pass through the encoder: larger products, and of every
weight one gradient instead of as many as there are batches, which would have to be added up."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from trivium.model.multitask import MultiTaskModel
from trivium.recipe import Stage
from trivium.types import Batch, Tokens


def may_go_together(
    model: MultiTaskModel, stage: Stage, device: torch.device, processes: int = 1
) -> bool:
    """Whether batches of a step have nothing in the encoder of their own, on one CPU."""
    return (
        device.type == "cpu"
        and processes == 1
        and not model.encoder.sides
        and model.kept is None
        and all(part.about_weights for part in stage.regularizers)
    )


def in_passes(tokens: Sequence[int], first_only: Sequence[bool], limit: int) -> Iterator[list[int]]:
    """Places of the pieces that go through the encoder together, pass after pass, given each one's
    tokens, and whether its head reads no others than texts' first ones.

    At most `limit` tokens, unless one alone has more; what reads first tokens alone only with its
    like, since of others the last layer has to make them all.
    """
    for kind in (False, True):
        group: list[int] = []
        for place in (p for p, reads in enumerate(first_only) if reads is kind):
            if group and sum(tokens[each] for each in group) + tokens[place] > limit:
                yield group
                group = []
            group.append(place)
        if group:
            yield group


def outputs_of(model: MultiTaskModel, batches: Sequence[Batch]) -> list[Tensor]:
    """Each batch's output_BK, of one pass."""
    tokens = joined([batch.tokens for batch in batches])
    hidden_ND = model.encode(model.encoder.embed(tokens), replace(batches[0], tokens=tokens))
    parts = torch.split(hidden_ND, [len(batch.tokens.ids_N) for batch in batches])
    return [model.finish(*both) for both in zip(batches, parts, strict=True)]


def joined(streams: Sequence[Tokens]) -> Tokens:
    """Streams one after another; what heads are asked about is left to each."""
    if len(streams) == 1:
        return streams[0]
    return Tokens(
        torch.cat([each.ids_N for each in streams]),
        torch.cat([each.positions_N for each in streams]),
        torch.cat([each.segments_N for each in streams]),
        torch.cat([each.lengths_R for each in streams]),
        max(each.longest for each in streams),
    )
