"""One pass for all heads: what three and six tasks on the same texts cost over one."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from statistics import median

import torch

from benchmarks import goals, measure
from benchmarks.serving.models import recipe, sentences
from trivium.run.assembly.device import choose_precision
from trivium.run.assembly.machine import cpu_name, keep_memory
from trivium.run.assembly.model import build
from trivium.run.predictor.torch import TorchPredictor

HEADS = (1, 3, 6)
SHORT = "Where is my parcel?"
WARM_UP = 20
"""Single texts, and no more of the many."""

Answer = Callable[[Sequence[str]], object]
"""All that a number of heads says of texts."""


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--texts", type=measure.positive, default=600, help="in bulk")
    parser.add_argument("--calls", type=measure.positive, default=200, help="with one short text")
    parser.add_argument("--repetitions", type=measure.positive, default=7)
    given = parser.parse_args()
    say = measure.teller(given)
    torch.set_num_threads(given.threads)
    model = _predictor()
    texts = sentences(given.data)[: given.texts]
    answers = {f"heads_{number}": _answer(model, number) for number in HEADS}
    say(f"{model.precision}, {given.threads} threads; {len(texts)} texts, then one short text")
    for answer in answers.values():
        answer(texts[:WARM_UP])
    bulk = _rates("us_per_text", answers, partial(_bulk, texts), given.repetitions, say)
    short = _rates("us_per_call", answers, partial(_short, given.calls), given.repetitions, say)
    torch.set_num_threads(1)
    cpu = _rates("cpu_us_per_call", answers, partial(_cpu, given.calls), given.repetitions, say)
    say(f"\n{goals.table(_goals(bulk, short, cpu))}")
    measure.last_line(
        {
            **{f"bulk_{n}_over_1": bulk.ratio(f"heads_{n}", "heads_1") for n in HEADS[1:]},
            **{f"short_{n}_over_1": short.ratio(f"heads_{n}", "heads_1") for n in HEADS[1:]},
            "bulk": bulk.values(),
            "short": short.values(),
            "short_one_thread": cpu.values(),
            "precision": model.precision,
            "texts": len(texts),
            "calls": given.calls,
            "repetitions": given.repetitions,
            "cpu": cpu_name(),
            **measure.machine(),
            "threads": given.threads,
        }
    )


def _goals(bulk: measure.Rates, short: measure.Rates, cpu: measure.Rates) -> list[goals.Goal]:
    most = f"heads_{max(HEADS)}"
    return [
        goals.at_most("many texts: six heads over one", 1.05, bulk.ratio(most, "heads_1")),
        goals.at_most("one short text: six heads over one", 1.10, short.ratio(most, "heads_1")),
        goals.at_most("one short text: CPU ms", 3.0, median(cpu.each["heads_1"]) / 1000),
    ]


def _predictor() -> TorchPredictor:
    """MiniLM with as many heads as are asked at most, in bf16 where the CPU multiplies it."""
    keep_memory()
    wanted = recipe([f"task_{place}" for place in range(max(HEADS))])
    model, tokenizer = build(wanted)
    model.encoder.precision = choose_precision("auto", torch.device("cpu"))
    return TorchPredictor(model, wanted.tasks, tokenizer)


def _answer(model: TorchPredictor, heads: int) -> Answer:
    tasks = list(model.tasks)[:heads]
    return lambda texts: model.arrays(dict.fromkeys(tasks, texts))


def _rates(
    unit: str,
    answers: dict[str, Answer],
    clock: Callable[[Answer], float],
    repetitions: int,
    say: Callable[[str], None],
) -> measure.Rates:
    """Every number of heads in turn, after a round that is not counted."""
    runs = {name: partial(clock, answer) for name, answer in answers.items()}
    measure.in_turn(runs, 1, lambda _: None)
    found = measure.Rates(unit, measure.in_turn(runs, repetitions, say))
    say(found.table(("heads_1",)))
    return found


def _bulk(texts: Sequence[str], answer: Answer) -> float:
    """Microseconds per text, of many at once."""
    began = time.perf_counter()
    answer(texts)
    return 1e6 * (time.perf_counter() - began) / len(texts)


def _short(calls: int, answer: Answer) -> float:
    """Microseconds for one short text alone."""
    began = time.perf_counter()
    for _ in range(calls):
        answer([SHORT])
    return 1e6 * (time.perf_counter() - began) / calls


def _cpu(calls: int, answer: Answer) -> float:
    """As `_short`, but of the processor's time, whatever else runs on the machine."""
    began = time.process_time()
    for _ in range(calls):
        answer([SHORT])
    return 1e6 * (time.process_time() - began) / calls


if __name__ == "__main__":
    main()
