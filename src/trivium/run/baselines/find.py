"""A task's baselines: what always saying the same scores, and a linear probe on the encoder as it
is; and from which of these a head may start."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from trivium.model.weights import Weights
from trivium.parts.heads.base import PooledPart
from trivium.parts.tasks import Task
from trivium.recipe import Recipe
from trivium.recipe.probed import fall_back
from trivium.run.assembly.digits import computed_by
from trivium.run.baselines.cache import bytes_of, cached
from trivium.run.baselines.fit import Probe, fit, linear, readout
from trivium.run.baselines.vectors import Look, Vectors
from trivium.run.folder.scores import Baselines, Metrics, ProbeScores
from trivium.run.predictor.scoring import score
from trivium.run.predictor.torch import TorchPredictor
from trivium.run.rows.sample import sample
from trivium.run.rows.splits import JUDGED, Data, Split
from trivium.run.rows.stored import StoredRows
from trivium.types import Example

MOST_ROWS, FEWEST_ROWS = 10_000, 1_000
"""Training rows that a probe is fitted on, so that it takes seconds whatever the table."""
MOST_CHARACTERS = 500_000
"""Of training texts that a probe is fitted on: some 110,000 tokens, which two cores encode in a few
seconds. It is not fitted on fewer than FEWEST_ROWS for that."""
MOST_NUMBERS = 3 * 10**9
"""Rows x features x outputs from which on it is fewer than MOST_ROWS."""


@dataclass(frozen=True, slots=True)
class BeforeTraining:
    """What is known before training."""

    baselines: Mapping[str, Baselines] = field(default_factory=dict)
    """By task; none where the recipe wants none, and of tasks that have no answers."""
    starts: Mapping[str, Weights] = field(default_factory=dict)
    """By task that starts from a probe the parameters of its head."""
    fallbacks: Mapping[str, Weights] = field(default_factory=dict)
    """By task that could start from a probe and does not, what its head then would be; where the
    recipe falls back on the probe."""


def find_baselines(
    recipe: Recipe, data: Data, predictor: TorchPredictor, *, wanted: bool
) -> BeforeTraining:
    """Baselines of all tasks, as far as `wanted`, and what heads start from, or fall back on, where
    that is a probe.

    predictor: with the encoder as training will find it. Draws nothing from torch's generator, and
    leaves the model as it is.
    """
    vectors = Vectors(predictor)
    baselines, starts, fallbacks = {}, {}, {}
    drawn = fall_back(recipe)
    for name, task in recipe.tasks.items():
        if not task.answers_questions or "train" not in data[name]:
            continue
        if wanted:
            baselines[name] = _baselines(task, data[name], vectors)
        if task.resolved_head.starts_from_probe:
            starts[name] = _own_probe(task, data[name]["train"], vectors)
        elif name in drawn:
            fallbacks[name] = _own_probe(task, data[name]["train"], vectors)
    return BeforeTraining(baselines, starts, fallbacks)


def usual(target_B: Tensor) -> Tensor:
    """The answer that suits most rows, as a readout: readout_1K.

    Of labels their shares, the largest of which is the answer; of scores the mean.
    """
    if not target_B.is_floating_point():
        target_B = F.one_hot(target_B)
    share_1K = target_B.double().mean(0, keepdim=True)
    return share_1K.view(1, -1).float()


def _baselines(task: Task, splits: Mapping[str, Split], vectors: Vectors) -> Baselines:
    look = _plain_look(task)
    train = _rows(look, splits["train"], vectors)
    probe = _probe(look, train, vectors)
    usual_1K = _widened(usual_of(task, splits["train"]), task)
    majority: dict[str, Metrics] = {}
    probed: dict[str, Metrics] = {}
    for name in (split for split in JUDGED if split in splits):
        split = splits[name]
        majority[name] = score(task, usual_1K.expand(len(split.examples), -1), split)
        feature_BF = vectors.of(look, [example.texts for example in split.examples])
        probed[name] = score(task, readout(look.task, probe.weights, feature_BF), split)
    return Baselines(
        metric=task.metric,
        answer=str(task.answers(usual_1K)[0]),
        majority=majority,
        probe=ProbeScores(
            scores=probed,
            rows=len(train),
            of_rows=len(splits["train"].examples),
            features=vectors.width(look),
            penalty=probe.penalty,
        ),
    )


def usual_of(task: Task, train: Split) -> Tensor:
    """`usual` of the training rows; of a big table's labels, counted part by part."""
    if not isinstance(train.examples, StoredRows):
        return usual(_targets(task, train.examples))
    parts = map(task.targets, train.examples.targets.parts())
    total_K = torch.zeros(0)
    for part in parts:
        if part.is_floating_point() and part.dim() == 1:
            return usual(torch.cat([part, *parts]))
        each_BK = part if part.is_floating_point() else F.one_hot(part, task.outputs)
        # Whole numbers: whatever the parts are, the sum is exact.
        sum_K = each_BK.double().sum(0)
        total_K = total_K + sum_K if len(total_K) else sum_K
    return (total_K / len(train.examples)).view(1, -1).float()


def _widened(usual_1K: Tensor, task: Task) -> Tensor:
    """Labels that no training row has are the last ones: they have a share of 0."""
    return F.pad(usual_1K, (0, task.outputs - usual_1K.shape[1]))


def _plain_look(task: Task) -> Look:
    """What the probe that is shown sees: the mean over each text's tokens, of a pair
    [u; v; |u-v|; u*v], however the task's head reads them."""
    apart = task.model_copy(update={"encode": "separate", "head": None})
    return Look(apart, "mean", "uv_diff_product")


def _own_probe(task: Task, train: Split, vectors: Vectors) -> Weights:
    """The parameters of the task's own head as a probe."""
    look = _own_look(task)
    probe = _probe(look, _rows(look, train, vectors), vectors)
    return {key: tensor.float() for key, tensor in probe.weights.items()}


def _own_look(task: Task) -> Look:
    """What the task's own head sees."""
    head = task.resolved_head
    assert isinstance(head, PooledPart), "the recipe refuses others"
    return Look(task, head.pooling, head.pair_features)


def _rows(look: Look, split: Split, vectors: Vectors) -> Sequence[Example]:
    """Those that the probe is fitted on: all, or a sample."""
    numbers = MOST_NUMBERS // (vectors.width(look) * max(1, look.task.outputs))
    rows = len(split.examples) * MOST_CHARACTERS // max(1, split.characters)
    return sample(split.examples, min(max(min(numbers, rows), FEWEST_ROWS), MOST_ROWS))


def _targets(task: Task, examples: Sequence[Example]) -> Tensor:
    return task.targets([example.target for example in examples if example.target is not None])


def _probe(look: Look, examples: Sequence[Example], vectors: Vectors) -> Probe:
    """Fitted, or as it was fitted before."""
    texts = [example.texts for example in examples]
    feature_BF, target_B = vectors.of(look, texts), _targets(look.task, examples)
    settings = linear(look.task).model_dump_json(exclude={"train", "dev", "test", "name"})
    digest = hashlib.sha256(f"probe 2 {settings} {computed_by(feature_BF.device)}".encode())
    for told in (bytes_of(feature_BF), bytes_of(target_B), repr(texts).encode()):
        digest.update(told)

    def make() -> Weights:
        probe = fit(look.task, feature_BF, target_B, texts)
        return probe.weights | {"penalty": torch.tensor(probe.penalty, dtype=torch.float64)}

    weights = dict(cached(digest.hexdigest(), make))
    return Probe(weights=weights, penalty=float(weights.pop("penalty")))
