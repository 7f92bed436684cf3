"""Gradient surgery: what a PCGrad step costs over a step on the summed loss, in time and memory."""

import argparse
import copy
import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import permutations, product
from pathlib import Path
from statistics import median

import torch
from torch import Tensor, nn

from benchmarks import joint, measure
from trivium.parts.combiners import PCGrad
from trivium.run.assembly.device import choose_precision, precision_name
from trivium.run.assembly.machine import keep_memory
from trivium.run.training.gradients import gram_by_parameter, set_weighted_sum
from trivium.run.training.work import Setup
from trivium.types import Step

DEFAULT_DTYPE = choose_precision("auto", joint.CPU)

TIMES = 8
"""Steps, or surgeries, per round and variant."""
STEPS_FOR_PEAK, BASE_STEPS, MOST_PEAKS = 6, 3, 3
"""The optimizer has its memory from the first step's end on, so a peak takes two."""
BASE_LENGTH = 64
TASKS = 3
MOST_APART = 1e-5
"""Relative difference allowed between our update and the naive one in double precision."""

# All ways in which the tasks may visit one another.
_OTHERS = [[j for j in range(TASKS) if j != i] for i in range(TASKS)]
ORDERS = list(product(*(permutations(others) for others in _OTHERS)))

Gradients = list[list[Tensor]]
"""Task by task, one tensor per parameter."""


def main() -> None:
    parser = measure.options(__doc__)
    parser.add_argument("--rounds", type=measure.positive, default=5)
    parser.add_argument("--quick", action="store_true", help="one round of single steps: a try")
    parser.add_argument("--one", choices=VARIANTS, help="this one's peak, as a JSON line")
    given = parser.parse_args()
    given.rounds = 1 if given.quick else given.rounds
    torch.set_num_threads(given.threads)
    keep_memory()
    if given.one:
        VARIANTS[given.one](given)
        print(json.dumps({"peak_mib": _peak_mib()}))
        return
    setup = joint.setup(given.data)
    steps = _time_steps(setup, given)
    surgery, errors = _time_surgery(setup, given)
    peaks = _peaks(given)
    default = precision_name(DEFAULT_DTYPE)
    measure.teller(given)(f"{steps.table(())}\n{surgery.table(('ours',))}")
    measure.last_line(
        {
            "pcgrad_step_over_sum_step": steps.ratio(f"pcgrad_{default}", f"sum_{default}"),
            "pcgrad_step_over_sum_step_fp32": steps.ratio("pcgrad_fp32", "sum_fp32"),
            "naive_surgery_over_ours": surgery.ratio("naive", "ours"),
            "pcgrad_extra_peak_mib": round(peaks["pcgrad"] - peaks["sum"], 1),
            "bert_base_peak_gib": round(peaks["bert_base"] / 1024, 3),
            "default_precision": default,
            "steps": steps.values(),
            "surgery": surgery.values() | {"relative_errors": errors},
            "peaks_mib": peaks,
            "rounds": given.rounds,
            **measure.machine(),
        }
    )


def _in_turn(
    unit: str, runs: Mapping[str, Callable[[], float]], given: argparse.Namespace
) -> measure.Rates:
    """Each variant once untimed, so that memory is mapped and kernels are chosen; then timed."""
    for run in runs.values():
        run()
    return measure.Rates(unit, measure.in_turn(runs, given.rounds, measure.teller(given)))


# --- steps -------------------------------------------------------------------------------------


def _time_steps(setup: Setup, given: argparse.Namespace) -> measure.Rates:
    """Whole optimizer steps on the same batches, in the default precision and in fp32."""
    times = 1 if given.quick else TIMES
    runs = {
        f"{combiner}_{precision_name(dtype)}": partial(
            joint.Course(setup, combiner, dtype).ms, times
        )
        for dtype in dict.fromkeys((DEFAULT_DTYPE, torch.float32))
        for combiner in joint.COMBINERS
    }
    return _in_turn("ms_per_step", runs, given)


# --- surgery alone -----------------------------------------------------------------------------


def _time_surgery(
    setup: Setup, given: argparse.Namespace
) -> tuple[measure.Rates, dict[str, float]]:
    """From the tasks' gradients to the update; and the relative errors of both ways."""
    shared = list(setup.model.encoder.parameters())
    gradients = _conflicting([parameter.shape for parameter in shared])
    order, errors = _check(shared, gradients)
    ways = {"ours": partial(_ours, shared), "naive": partial(_naive, shared, order)}
    times = 1 if given.quick else TIMES
    runs = {name: partial(_mean_ms, way, gradients, times) for name, way in ways.items()}
    return _in_turn("ms", runs, given), errors


def _mean_ms(way: Callable[[Gradients], None], gradients: Gradients, times: int) -> float:
    seconds = 0.0
    for _ in range(times):
        fresh = _copy(gradients)  # ours writes over them
        began = time.perf_counter()
        way(fresh)
        seconds += time.perf_counter() - began
    return 1000 * seconds / times


def _conflicting(shapes: Sequence[torch.Size]) -> Gradients:
    """Random gradients of which every two oppose each other: cosines about -1/3.

    From independent normal z, z_i - mean(z) / 2; their lengths are made to differ.
    """
    generator = torch.Generator().manual_seed(0)
    gradients: Gradients = [[] for _ in range(TASKS)]
    for shape in shapes:
        parts = [torch.randn(shape, generator=generator) for _ in range(TASKS)]
        mean = torch.stack(parts).mean(0)
        for gradient, part, length in zip(gradients, parts, (1.0, 2.0, 0.5), strict=True):
            gradient.append(length * (part - mean / 2))
    assert int((gram_by_parameter(gradients).sum(0) < 0).sum()) == TASKS * (TASKS - 1)
    return gradients


def _ours(shared: Sequence[nn.Parameter], gradients: Gradients) -> None:
    names = tuple(f"task {index}" for index in range(TASKS))
    step = Step(0, 1, 1, 1, torch.Generator().manual_seed(0), tasks=names)
    weight_T = PCGrad().weigh(gram_by_parameter(gradients).sum(0), step)
    set_weighted_sum(shared, dict(zip(names, gradients, strict=True)), weight_T)


def _naive(
    shared: Sequence[nn.Parameter], orders: Sequence[Sequence[int]], gradients: Gradients
) -> None:
    """As it is commonly written: flat vectors with masks of what each task reaches, deep copies,
    a projection at a time, and the parts that all or some tasks reach merged by mask.

    orders: for each task, in which order it visits the others.
    """
    flat = [torch.cat([part.flatten() for part in gradient]) for gradient in gradients]
    reached = [torch.cat([torch.ones_like(part).flatten() for part in g]) for g in gradients]
    projected = copy.deepcopy(flat)
    for mine_P, order in zip(projected, orders, strict=True):
        for other in order:
            overlap = torch.dot(mine_P, flat[other])
            if overlap < 0:
                mine_P -= overlap * flat[other] / flat[other].norm() ** 2
    by_all_P = torch.stack(reached).prod(0).bool()
    update_P = torch.zeros_like(flat[0])
    update_P[by_all_P] = torch.stack([g[by_all_P] for g in projected]).sum(0)
    update_P[~by_all_P] = torch.stack([g[~by_all_P] for g in projected]).sum(0)
    start = 0
    for parameter in shared:
        end = start + parameter.numel()
        parameter.grad = update_P[start:end].view_as(parameter).clone()
        start = end


def _check(
    shared: Sequence[nn.Parameter], gradients: Gradients
) -> tuple[Sequence[Sequence[int]], dict[str, float]]:
    """The order in which ours visits the tasks, and how far each update is from the exact one.

    In double precision both must give the same update; in single precision each has rounding
    errors of its own, mostly from inner products over millions of numbers.
    """
    wide = [nn.Parameter(parameter.detach().double()) for parameter in shared]
    wide_gradients = [[part.double() for part in gradient] for gradient in gradients]
    _ours(wide, _copy(wide_gradients))
    found_P = _flat_grad(wide)
    apart: dict[Sequence[Sequence[int]], float] = {}
    for orders in ORDERS:
        _naive(wide, orders, wide_gradients)
        apart[orders] = _distance(found_P, _flat_grad(wide))
    taken = min(apart, key=apart.__getitem__)
    assert apart[taken] <= MOST_APART, f"two ways to one update, yet {apart[taken]:.1e} apart"
    errors = {"between_them_in_fp64": apart[taken]}
    _ours(shared, _copy(gradients))
    errors["ours_in_fp32"] = _distance(_flat_grad(shared), found_P)
    _naive(shared, taken, gradients)
    errors["naive_in_fp32"] = _distance(_flat_grad(shared), found_P)
    return taken, errors


def _distance(found_P: Tensor, wanted_P: Tensor) -> float:
    """Relative to what was wanted."""
    return float((found_P - wanted_P).norm() / wanted_P.norm())


def _copy(gradients: Gradients) -> Gradients:
    return [[part.clone() for part in gradient] for gradient in gradients]


def _flat_grad(shared: Sequence[nn.Parameter]) -> Tensor:
    return torch.cat([p.grad.flatten() for p in shared if p.grad is not None])


# --- memory, each variant in a process of its own ----------------------------------------------


def _peaks(given: argparse.Namespace) -> dict[str, float]:
    """Median peak of each variant, in MiB."""
    runs = {name: partial(_peak_in_child, name, given) for name in VARIANTS}
    found = measure.in_turn(runs, min(given.rounds, MOST_PEAKS), measure.teller(given))
    return {name: round(median(peaks), 1) for name, peaks in found.items()}


def _peak_in_child(name: str, given: argparse.Namespace) -> float:
    told = ["--one", name, "--data", str(given.data), "--threads", str(given.threads)]
    told += ["--quick"] * given.quick
    command = [sys.executable, "-m", "benchmarks.surgery", *told]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return float(json.loads(done.stdout.splitlines()[-1])["peak_mib"])


def _peak_mib() -> float:
    """Most memory that this process has had resident.

    Not `ru_maxrss`, which Linux hands on from the parent: a small child would show its size.
    """
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    (kib,) = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return round(int(kib) / 1024, 1)


def _train_minilm(combiner: str, given: argparse.Namespace) -> None:
    course = joint.Course(joint.setup(given.data), combiner, DEFAULT_DTYPE)
    course.ms(2 if given.quick else STEPS_FOR_PEAK)


def _train_base(given: argparse.Namespace) -> None:
    setup = joint.base_setup(given.data, BASE_LENGTH)
    joint.Course(setup, "base", DEFAULT_DTYPE).ms(2 if given.quick else BASE_STEPS)


VARIANTS: dict[str, Callable[[argparse.Namespace], None]] = {
    "sum": partial(_train_minilm, "sum"),
    "pcgrad": partial(_train_minilm, "pcgrad"),
    "bert_base": _train_base,
}

if __name__ == "__main__":
    main()
