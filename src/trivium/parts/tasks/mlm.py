"""Masked words: not a question about a text, but practice in reading it."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.model.encoder import Encoder
from trivium.model.multitask import Head
from trivium.parts.heads import HeadPart
from trivium.parts.heads.words import WordsHead
from trivium.parts.losses import AnyLoss, CrossEntropy, LabelLoss, LossPart
from trivium.parts.tasks.labels import symmetrised_kl
from trivium.parts.tasks.practice import TextPractice
from trivium.text.masking import Masking, fixed_draws, fresh_draws, has_words, mask
from trivium.text.tokenizer import Tokenizer
from trivium.types import Batch, Target, Tokens

ASKED_AT_ONCE = 512
"""Tokens whose logits are held at once while judging: 60 MiB at BERT's vocabulary."""


class MaskedWords(TextPractice):
    """Masked language modelling (Devlin et al. 2019, section 3.1), with new masks in every batch
    (Liu et al. 2019, section 4.1): further pretraining as a task of a stage.

    Judged by `masked_accuracy`, with `perplexity` beside it: exp of the mean loss of the asked
    word pieces, the one score of all that is better when it is *lower*. The masks of a text that is
    judged are always the same ones, so scores of different models can be compared.
    """

    kind: Literal["mlm"] = "mlm"
    mask: Masking = Masking()
    head: WordsHead | None = None  # type: ignore[assignment]

    losses: ClassVar[type[LossPart]] = LabelLoss
    judged_by: ClassVar[tuple[str, ...]] = ("masked_accuracy",)
    draws_targets: ClassVar[bool] = True
    who_has: ClassVar[str] = "masked words have"

    # --- what is learned ----------------------------------------------------------------------

    @property
    def outputs(self) -> int:
        return 0  # as many as the encoder has word pieces

    @property
    def asked_share(self) -> float:
        return self.mask.share

    def default_head(self) -> HeadPart:
        return WordsHead()

    def build_head(self, width: int, words: int = 0) -> Head:
        return self.resolved_head.build(width, words, self.sequences)

    def default_loss(self) -> AnyLoss:
        return CrossEntropy()

    def targets(self, values: Sequence[Target]) -> Tensor:
        return torch.zeros(len(values))

    def prepare(self, batch: Batch, tokenizer: Tokenizer) -> Batch:
        tokens, target_M = mask(batch.tokens, fresh_draws(batch.tokens), self.mask, tokenizer)
        return replace(batch, tokens=tokens, target_B=target_M)

    def compute_loss(self, output_BK: Tensor, target_B: Tensor) -> Tensor:
        loss = self.resolved_loss
        assert isinstance(loss, LabelLoss), "validation refuses others"
        return loss.one(output_BK, target_B)

    def divergence(self, output_BK: Tensor, other_BK: Tensor) -> Tensor:
        return symmetrised_kl(output_BK, other_BK)

    # --- how it is judged ---------------------------------------------------------------------

    @torch.inference_mode()
    def judge(self, tokens: Tokens, head: Head, encoder: Encoder, tokenizer: Tokenizer) -> Tensor:
        """Of each text the summed loss, the number of right guesses, and of asked tokens, under
        masks that are the text's own: readout_R3, fp32. tokens: on the CPU."""
        device = encoder.embeddings.word_embeddings.weight.device
        # Texts without words are asked nothing beside others, and so alone.
        if not has_words(tokens, tokenizer):
            return torch.zeros(len(tokens.lengths_R), 3, device=device)
        asked, target_M = mask(tokens, fixed_draws(tokens), self.mask, tokenizer)
        assert asked.asked_M is not None
        text_M = torch.bucketize(asked.asked_M, tokens.lengths_R.cumsum(0), right=True)
        asked, target_M = asked.to(device), target_M.to(device)
        hidden_ND: Tensor = encoder(asked, self.name)
        sums_M3 = []
        assert asked.asked_M is not None
        for place_M, right_M in zip(
            torch.split(asked.asked_M, ASKED_AT_ONCE),
            torch.split(target_M, ASKED_AT_ONCE),
            strict=True,
        ):
            logit_MV = head.represent(hidden_ND, replace(asked, asked_M=place_M), encoder)
            loss_M = F.cross_entropy(logit_MV, right_M, reduction="none")
            is_right_M = logit_MV.argmax(dim=1) == right_M
            sums_M3.append(torch.stack([loss_M, is_right_M.float(), torch.ones_like(loss_M)], 1))
        readout_R3 = torch.zeros(len(tokens.lengths_R), 3, device=device)
        return readout_R3.index_add(0, text_M.to(device), torch.cat(sums_M3))

    def readout(self, output_BK: Tensor) -> Tensor:
        """What `judge` gave, as it is."""
        return output_BK

    def scores(self, readout_BK: Tensor, target_B: Tensor) -> dict[str, float]:
        loss, right, asked = readout_BK.double().sum(0).tolist()
        if not asked:  # no text has a word, so nothing is known: the worst of both
            return {"masked_accuracy": 0.0, "perplexity": math.exp(700.0)}
        # Of a model that has gone astray exp would not fit into a number.
        perplexity = math.exp(min(loss / asked, 700.0))
        return {"masked_accuracy": right / asked, "perplexity": perplexity}

    def summary(self, targets: Sequence[Target]) -> list[str]:
        rule, chosen = self.mask, "of words" if self.mask.whole_words else "of word pieces"
        stay = max(0.0, 1 - rule.masked - rule.random)
        return [
            f"asks {rule.share:.3g} {chosen}",
            f"masked {rule.masked:.3g}, random {rule.random:.3g}, as they are {stay:.3g}",
        ]
