"""Another pass of the same batch: from other embeddings, or with other weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from torch import Tensor, nn

from trivium.parts.regularizers.base import Context
from trivium.parts.regularizers.noise import repeated


def answer(context: Context, x_ND: Tensor) -> Tensor:
    """Outputs from embeddings, under the dropout masks of the clean pass: x_ND -> output_BK."""
    model, batch = context.model, context.batch
    with repeated(context.noise):
        return model.finish(batch, model.encode(x_ND, batch))


def embed_alike(context: Context) -> Tensor:
    """The batch's embeddings by the weights of now, under the clean pass's dropout mask: x_ND.

    That mask was drawn before `context.noise` was taken, but it left its mark on `context.x_ND`:
    zeros, which LayerNorm does not give.
    """
    embeddings = context.model.encoder.embeddings
    training = embeddings.training
    embeddings.eval()
    try:
        x_ND = context.model.encoder.embed(context.batch.tokens)
    finally:
        embeddings.train(training)
    if not training or embeddings.dropout == 0.0:
        return x_ND
    kept_ND = (context.x_ND != 0).to(x_ND.dtype)
    return x_ND * kept_ND.mul_(1.0 / (1.0 - embeddings.dropout))


@contextmanager
def standing_in(model: nn.Module, tensors: Mapping[nn.Parameter, Tensor]) -> Iterator[None]:
    """Inside, the model computes with other tensors in the place of some of its parameters.

    `torch.func.functional_call` finds modules by attribute and so fails for a task called `train`.
    """
    # What `model.kernels` keeps of weights goes by address and version. Here that is right: a
    # detached tensor shares both with its parameter, an average has its own and counts its updates.
    places = [
        (module._parameters, name, parameter)
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and parameter in tensors
    ]
    # Recurrent networks list their weights anew when these have become others, and pack them into
    # one block on a GPU. Parameters that a graph may hold already shall not be packed again.
    recurrent = [m for m in model.modules() if isinstance(m, nn.RNNBase)]
    lists = [(m._flat_weights, m._flat_weight_refs) for m in recurrent]
    try:
        for parameters, name, parameter in places:
            parameters[name] = tensors[parameter]  # type: ignore[assignment]
        yield
    finally:
        for parameters, name, parameter in places:
            parameters[name] = parameter
        for module, (weights, references) in zip(recurrent, lists, strict=True):
            module._flat_weights, module._flat_weight_refs = weights, references
