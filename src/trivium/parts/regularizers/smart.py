"""SMART's first half: answers that do not change with small changes of the embeddings."""

from collections.abc import Iterator
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from trivium.parts.facts import StageFacts
from trivium.parts.regularizers.base import Context, RegularizerPart, skipped_key
from trivium.parts.regularizers.passes import answer, standing_in
from trivium.types import Tokens


class Smart(RegularizerPart):
    """Smoothness-inducing adversarial regularization (Jiang et al. 2020, algorithm 1).

    penalty = l_s(f(x + d), f(x)): x is the output of the embedding layer, l_s the task's divergence
    and d the worst perturbation in the ball |d|_inf <= eps that a short search finds. It starts
    from noise of standard deviation sigma and takes `steps` times d <- P(d + eta * g / |g|_inf),
    where g is the gradient of l_s at d and P cuts each element to [-eps, eps]; P follows the noise
    too. |g|_inf is taken text by text (a pair that is encoded apart is two texts); a text whose
    gradient is 0 stays where it is.

    To the weights d is a constant: they learn from f(x + d) and f(x), and the search computes no
    gradient of theirs. All passes share the clean pass's dropout masks, in the encoder and in the
    head, so that what they tell apart is d. Where anything turns out not to be finite, the batch
    goes without its penalty; `smart.skipped` in the step's memory counts those.

    With one ascent step, a training step costs 8/3 of a plain one.
    """

    kind: Literal["smart"] = "smart"
    eps: float = Field(default=1e-5, gt=0)
    """Radius of the ball, in each element of an embedding. The paper's: with it the penalty of a
    fine-tuned MiniLM is about 1e-7. One that is felt beside the loss is larger, as is its `eta`."""
    sigma: float = Field(default=1e-5, gt=0)
    """Standard deviation of the noise from which the search starts."""
    eta: float = Field(default=1e-3, gt=0)
    """Length of an ascent step, in the element that moves most."""
    steps: int = Field(default=1, ge=0)
    """Ascent steps. With 0 the noise itself is the perturbation (R3F, Aghajanyan et al. 2021)."""

    @property
    def needs_fp32(self) -> bool:
        return True  # beside embeddings near 1, bf16's 8 bits do not see 1e-5

    @property
    def extra_passes(self) -> int:
        return 1  # the search's own graphs go as they come

    def notes(self, facts: StageFacts) -> Iterator[str]:
        # Hardly a draw of the noise is beyond four of its deviations.
        if 4 * self.sigma + self.steps * self.eta < self.eps:
            yield (
                f"smart's search cannot reach its radius: `eps` is {self.eps:g}, but it starts "
                f"within about {4 * self.sigma:g} and moves {self.eta:g} a step; raise `eta` with "
                "`eps`"
            )

    def penalty(self, context: Context) -> Tensor | None:
        assert context.model.encoder.precision == torch.float32, "`needs_fp32` was not heeded"
        *_, d_ND = self.perturbations(context)
        other_BK = answer(context, context.x_ND + d_ND)
        penalty = context.task.divergence(other_BK, context.output_BK)
        if bool(torch.isfinite(d_ND).all() & torch.isfinite(penalty)):
            return penalty
        memory, key = context.step.memory, skipped_key(self.kind)
        memory[key] = memory.get(key, torch.zeros((), dtype=torch.int64)) + 1
        return None

    def perturbations(self, context: Context) -> Iterator[Tensor]:
        """The search: where it starts, then where each ascent step leads. d_ND, constants."""
        x_ND, output_BK = context.x_ND.detach(), context.output_BK.detach()
        # Constants in the parameters' places: the kernels' backward passes would compute gradients
        # of all that require one, whatever `autograd.grad` asks for.
        constants = {p: p.detach() for p in context.model.parameters() if p.requires_grad}
        d_ND = (self.sigma * torch.randn_like(x_ND)).clamp_(-self.eps, self.eps)
        yield d_ND
        for _ in range(self.steps):
            moved_ND = d_ND.clone().requires_grad_()
            with standing_in(context.model, constants):
                other_BK = answer(context, x_ND + moved_ND)
            divergence = context.task.divergence(other_BK, output_BK)
            (gradient_ND,) = torch.autograd.grad(divergence, moved_ND)
            ascent_ND = _over_largest_of_text(gradient_ND, context.batch.tokens)
            d_ND = (d_ND + self.eta * ascent_ND).clamp_(-self.eps, self.eps)
            yield d_ND


def _over_largest_of_text(gradient_ND: Tensor, tokens: Tokens) -> Tensor:
    """Each text's gradient over its largest element; a text whose gradient is 0 keeps 0."""
    texts = len(tokens.lengths_R)
    text_N = torch.arange(texts, device=gradient_ND.device)
    text_N = text_N.repeat_interleave(tokens.lengths_R, output_size=len(gradient_ND))
    largest_N = gradient_ND.abs().amax(dim=1)
    largest_R = largest_N.new_zeros(texts).scatter_reduce_(0, text_N, largest_N, "amax")
    largest_R = largest_R.clamp_min(torch.finfo(largest_R.dtype).tiny)
    return gradient_ND / largest_R[text_N][:, None]
