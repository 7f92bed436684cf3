"""A stack of BERT layers as one operation of autograd. Shape letters: see `trivium.types`.

Every layer is four products, each with what follows it, and attention text by text. In the backward
pass the gradient that runs through the residuals stays in fp32 from the last layer to the first.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from trivium.model.native.backward import Backward
from trivium.model.native.forward import Forward, predict
from trivium.model.native.task import Task


def encode(task: Task, x_ND: Tensor) -> Tensor:
    """The layers' output hidden_ND, in what the kernels compute in, of their input x_ND."""
    if not task.part:
        return x_ND.to(task.numbers)
    task.stack.refresh(task.library, learns_from=task.learns_from)
    if not (task.learns or task.hidden_dropout or task.attention_dropout):
        return predict(task, x_ND)
    parameters = task.stack.parameters() if task.learns else []
    hidden_ND: Tensor = _Layers.apply(x_ND, task, *parameters)  # type: ignore[no-untyped-call]
    return hidden_ND


class _Layers(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, task: Task, *parameters: Tensor) -> Tensor:
        work = Forward(task)
        hidden_ND = work.run(x_ND)
        ctx.work, ctx.parameters = work, parameters
        if task.learns:
            task.stack.lend(work)
            if work.kept[0].x_ND is x_ND:  # no copy of it, nor what a lower layer made of it
                ctx.save_for_backward(x_ND)
        return hidden_ND

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_ND: Tensor) -> tuple[Tensor | None, ...]:
        work, ctx.work = ctx.work, None
        if work is None:
            raise RuntimeError("this graph's backward pass has run: what it needs is gone")
        _ = ctx.saved_tensors  # autograd refuses here what has been changed in place since
        wanted = {
            id(p) for p, is_wanted in zip(ctx.parameters, ctx.needs_input_grad[2:], strict=True)
            if is_wanted
        }  # fmt: skip
        back = Backward(work.task, work.places, wanted, of_input=ctx.needs_input_grad[0])
        grad_x = back.run(grad_ND, work.kept)
        if work.task.shares is not None:
            work.task.shares.grads = back.grads
            return (grad_x, None, *(None for _ in ctx.parameters))
        (grads,) = back.grads
        return (grad_x, None, *(grads.get(id(p)) for p in ctx.parameters))
