"""Real processes that compute: they answer as the model does, and nobody fails for a neighbour."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from asyncio import Runner
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import numpy as np
import psutil
import pytest
from rich.console import Console

import trivium
from tests.support import moody_worker
from tests.support.moody_worker import BREAKS, DIES, HANGS, PRINTS, RAISES, WAITS
from tests.support.processes import PATIENCE_S, loaded_after, wait_until
from tests.support.tables import make_recipe
from trivium.answering.described import Described
from trivium.answering.reading import PLAIN, Reading
from trivium.apps.serve.asks import Draining, Failed, RowAsk, Said, Service, TooLate
from trivium.apps.serve.child import Child
from trivium.apps.serve.keeper import Keeper, Limits, NotStarted, pause_s
from trivium.apps.serve.queue import Batch
from trivium.apps.serve.service import WorkerService

COMMAND = (sys.executable, "-P", moody_worker.__file__)


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    values = make_recipe(tiny, folder)
    trivium.train(
        values, folder / "run", changes=["stages.0.steps=2"], console=Console(file=StringIO())
    )
    return folder / "run"


@pytest.fixture(scope="module")
def runner() -> Iterator[Runner]:
    """An event loop that the tests of this file share, as their workers do."""
    with Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def service(run: Path, runner: Runner) -> Iterator[WorkerService]:
    """One worker that obeys some words."""
    service = WorkerService(run, workers=1, batch_deadline_s=5.0, command=COMMAND)
    runner.run(service.start())
    yield service
    runner.run(service.stop(5))


def row(service: WorkerService, **texts: str | tuple[str, str]) -> RowAsk:
    """What a row asks: a text, or two, by task."""
    (reader,) = service.readers
    return RowAsk(tuple(reader.asked({task: [text] for task, text in texts.items()})))


def moods(service: WorkerService, *texts: str) -> list[RowAsk]:
    return [row(service, mood=text) for text in texts]


async def answers(
    service: WorkerService, rows: Sequence[RowAsk], patience_s: float = PATIENCE_S
) -> Sequence[Said]:
    deadline = asyncio.get_running_loop().time() + patience_s
    return await service.ask(rows, deadline).answers


async def busy(service: WorkerService) -> None:
    """Until every worker computes."""
    async with asyncio.timeout(PATIENCE_S):
        while service.load().longest_batch_s == 0.0 or service.load().queued_rows:
            await asyncio.sleep(0.005)


def failed(said: Sequence[Said]) -> list[int]:
    return [place for place, one in enumerate(said) if isinstance(one, Failed)]


def workers() -> list[psutil.Process]:
    """Child processes that are workers, alive or not."""
    return [p for p in psutil.Process().children() if p.status() == psutil.STATUS_ZOMBIE or any(
        "worker" in word for word in p.cmdline())]  # fmt: skip


# --- answers ------------------------------------------------------------------------------------


def test_it_is_what_http_asks_for(service: WorkerService) -> None:
    as_asked: Service = service
    assert as_asked.ready
    assert as_asked.alive
    assert list(as_asked.described.forms) == ["mood", "same", "near"]
    assert as_asked.described.backend == "torch"
    (worker,) = workers()
    assert worker.environ()["OMP_NUM_THREADS"] == "1"


def test_a_front_needs_no_torch() -> None:
    found = loaded_after("import trivium.apps.serve.service")
    assert {*found} == {"numpy", "pydantic", "tokenizers"}


def test_rows_that_ask_different_tasks_are_answered_as_the_model_answers(
    service: WorkerService, runner: Runner, run: Path
) -> None:
    model = trivium.load(run)
    texts = [f"good day {word}" for word in ("dog", "runs", "very", "not", "eats")]
    pairs = [(text, "fine blue dog") for text in texts]
    kinds: list[dict[str, str | tuple[str, str]]] = [
        {"mood": texts[0]},
        {"near": pairs[1], "same": pairs[1]},
        {"mood": texts[2], PLAIN: texts[2], "near": pairs[2]},
        {PLAIN: texts[3]},
        {"same": pairs[4]},
    ]

    async def everybody() -> list[Sequence[Said]]:
        one = [row(service, **kind) for kind in kinds]
        asked = [answers(service, one), *(answers(service, [r]) for r in one), answers(service, [])]
        return await asyncio.gather(*asked)

    together, *alone, nothing = runner.run(everybody())
    assert nothing == []
    for kind, said, (by_itself,) in zip(kinds, together, alone, strict=True):
        assert not isinstance(said, Failed)
        assert not isinstance(by_itself, Failed)
        assert list(said) == list(kind)
        for task, texts_of_row in kind.items():
            wanted_K = model.arrays({task: [texts_of_row]})[task][0]
            np.testing.assert_allclose(said[task], wanted_K, rtol=1e-4, atol=1e-5)
            np.testing.assert_allclose(by_itself[task], wanted_K, rtol=1e-4, atol=1e-5)


def test_whoever_asks_at_the_same_time_shares_a_batch_and_hears_how_long_it_took(
    service: WorkerService, runner: Runner
) -> None:
    async def eight() -> None:
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        before = service.load()
        tickets = [service.ask(moods(service, "good dog"), deadline) for _ in range(8)]
        assert service.load().queued_rows == 8
        await asyncio.gather(*(ticket.answers for ticket in tickets))
        after = service.load()
        assert (after.batches - before.batches, after.rows - before.rows) == (1, 8)
        assert after.tokens - before.tokens == 8 * len(["[CLS]", "good", "dog", "[SEP]"])
        assert after.tokens_per_s > 0
        assert all(t.computed_s > 0 and t.queued_s >= 0 for t in tickets)

    runner.run(eight())


def test_what_a_library_prints_does_no_harm(
    service: WorkerService, runner: Runner, capfd: pytest.CaptureFixture[str]
) -> None:
    assert failed(runner.run(answers(service, moods(service, PRINTS)))) == []
    said = runner.run(answers(service, moods(service, f"{PRINTS} day", "good")))
    assert failed(said) == []


# --- whose fault it is --------------------------------------------------------------------------


@pytest.mark.parametrize("place", range(5))
def test_a_row_that_raises_fails_alone_wherever_it_stands(
    service: WorkerService, runner: Runner, place: int
) -> None:
    texts = ["good dog"] * 5
    texts[place] = RAISES
    restarts = service.load().restarts

    async def with_neighbours() -> list[Sequence[Said]]:
        others = [answers(service, moods(service, "bad day")) for _ in range(3)]
        return await asyncio.gather(answers(service, moods(service, *texts)), *others)

    said, *others = runner.run(with_neighbours())
    assert failed(said) == [place]
    assert said[place] == Failed("ValueError: there is a fish")
    assert [failed(one) for one in others] == [[]] * 3
    assert service.load().restarts == restarts


def test_several_rows_that_raise_fail_and_nobody_else(
    service: WorkerService, runner: Runner
) -> None:
    texts = [RAISES if place in (0, 3, 4, 8) else "good dog" for place in range(9)]
    assert failed(runner.run(answers(service, moods(service, *texts)))) == [0, 3, 4, 8]


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_row_that_kills_is_given_up_after_two_workers_and_its_neighbours_are_answered(
    service: WorkerService, runner: Runner
) -> None:
    texts = ["good dog", "bad day", DIES, "fine"]
    restarts = service.load().restarts
    said = runner.run(answers(service, moods(service, *texts)))
    assert failed(said) == [2]
    assert said[2] == Failed("computing it ended the process (SIGKILL)")
    assert service.load().restarts == restarts + 2
    assert service.alive


@pytest.mark.whole_run
def test_a_worker_that_is_killed_in_mid_batch_loses_nobody(
    service: WorkerService, runner: Runner
) -> None:
    async def interrupted() -> tuple[Sequence[Said], Sequence[Said]]:
        first = asyncio.create_task(answers(service, moods(service, WAITS, "good", "bad")))
        await asyncio.sleep(0)
        await busy(service)
        later = asyncio.create_task(answers(service, moods(service, "fine", "awful")))
        (worker,) = workers()
        worker.kill()
        while service.load().workers:
            await asyncio.sleep(0.005)
        assert not service.ready
        return await first, await later

    assert [failed(said) for said in runner.run(interrupted())] == [[], []]
    assert service.ready


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_worker_that_answers_nothing_any_more_is_replaced_and_the_next_row_is_answered(
    service: WorkerService, runner: Runner
) -> None:
    restarts = service.load().restarts
    said = runner.run(answers(service, moods(service, BREAKS)))
    assert said == [Failed("ValueError: there is a fish")]
    assert service.load().restarts == restarts + 2  # the row had two workers
    assert failed(runner.run(answers(service, moods(service, "good")))) == []


# --- who goes, or comes too late ----------------------------------------------------------------


def test_the_front_rests_no_longer_than_until_a_worker_says_something(
    service: WorkerService, runner: Runner
) -> None:
    async def rested() -> tuple[bool, float, bool]:
        idle = service.rest(20.0)
        asked = asyncio.ensure_future(answers(service, moods(service, f"good {WAITS}")))
        await busy(service)
        loop = asyncio.get_running_loop()
        begun = loop.time()
        while not (is_rested := service.rest(20.0)):  # its batch is still being written
            await asyncio.sleep(0)
        seconds = loop.time() - begun
        assert not failed(await asked)
        return idle, seconds, is_rested

    idle, seconds, is_rested = runner.run(rested())
    assert not idle  # a worker that waits for us is not kept waiting
    assert is_rested
    assert seconds < 20.0


def test_what_was_cancelled_is_not_computed(service: WorkerService, runner: Runner) -> None:
    async def somebody_goes() -> int:
        rows = service.load().rows
        slow = asyncio.create_task(answers(service, moods(service, WAITS)))
        await asyncio.sleep(0)
        await busy(service)
        gone = asyncio.create_task(answers(service, moods(service, "good", "bad")))
        stays = asyncio.create_task(answers(service, moods(service, "fine")))
        await asyncio.sleep(0)
        assert service.load().queued_rows == 3
        gone.cancel()
        await asyncio.sleep(0.01)
        assert service.load().queued_rows == 1
        assert failed([*await slow, *await stays]) == []
        return service.load().rows - rows

    assert runner.run(somebody_goes()) == 2


def test_who_is_not_answered_by_the_deadline_hears_so_then(
    service: WorkerService, runner: Runner
) -> None:
    async def late() -> int:
        rows = service.load().rows
        slow = asyncio.create_task(answers(service, moods(service, WAITS)))
        await asyncio.sleep(0)
        await busy(service)
        with pytest.raises(TooLate):
            await answers(service, moods(service, "good"), patience_s=0.02)
        assert not slow.done()
        await slow
        return service.load().rows - rows

    assert runner.run(late()) == 1


# --- from start to end --------------------------------------------------------------------------


def test_a_model_that_cannot_be_loaded_ends_the_start_with_its_own_words(
    tmp_path: Path, runner: Runner
) -> None:
    service = WorkerService(tmp_path / "nowhere", workers=1)
    with pytest.raises(trivium.RecipeError) as found:
        runner.run(service.start())
    with pytest.raises(trivium.RecipeError) as wanted:
        trivium.load(tmp_path / "nowhere")
    assert str(found.value) == f"trivium serve: {wanted.value}"


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import sys; sys.exit(3)", r"ended while it loaded the model \(exit status 3\)"),
        ("print('Hello, I am a library')", "it said what came is no frame"),
    ],
)
def test_a_worker_that_says_nothing_useful_ends_the_start(
    run: Path, runner: Runner, code: str, said: str
) -> None:
    service = WorkerService(run, workers=1, command=(sys.executable, "-c", code))
    with pytest.raises(trivium.RecipeError, match=said):
        runner.run(service.start())


def test_a_worker_that_does_not_come_up_is_not_started_in_a_hot_loop(runner: Runner) -> None:
    assert [pause_s(n) for n in (1, 2, 3, 4)] == [0, 0.25, 0.5, 1.0]
    assert pause_s(12) == pause_s(10**6) == 30.0

    async def half_a_second() -> int:
        keeper = Keeper(Nobody(), (sys.executable, "-S", "-c", ""), os.environ, Limits(9.0, 9.0))
        keeper.start()
        while not keeper.restarts:  # a busy machine takes its time for a first process
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        await keeper.end()
        return keeper.restarts

    assert 1 <= runner.run(half_a_second()) <= 4  # at once, and after pauses of 0, 0.25, 0.5 s


class Nobody:
    """Whom nothing that a worker says concerns."""

    def met(self, described: Described) -> Sequence[Reading]:  # noqa: ARG002 nobody listens
        return ()

    def changed(self) -> None: ...
    def answered(
        self, batch: Batch, said: Sequence[Said], seconds: float, took_s: float
    ) -> None: ...
    def raised(self, batch: Batch, why: str) -> None: ...
    def died(self, batch: Batch, why: str) -> None: ...


@pytest.mark.thorough
@pytest.mark.whole_run
def test_draining_takes_nothing_in_and_stopping_waits_for_what_is_there(
    run: Path, runner: Runner
) -> None:
    async def stopped() -> None:
        others = {p.pid for p in workers()}
        service = WorkerService(run, workers=1, probe_every_s=0.05, command=COMMAND)
        await service.start()
        while service.load().rows < 2:  # nobody asks, and so it asks itself
            await asyncio.sleep(0.01)
        assert service.ready
        slow = asyncio.create_task(answers(service, moods(service, WAITS, "good")))
        await asyncio.sleep(0)
        service.drain()
        assert not service.ready
        with pytest.raises(Draining):
            await answers(service, moods(service, "bad"))
        await service.stop(PATIENCE_S)
        assert failed(await slow) == []
        assert {p.pid for p in workers()} == others

    runner.run(stopped())


@pytest.mark.thorough
@pytest.mark.whole_run
def test_a_batch_past_its_deadline_ends_its_worker_and_only_its_row_fails(
    run: Path, runner: Runner, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang() -> None:
        service = WorkerService(run, workers=1, batch_deadline_s=1.0, command=COMMAND)
        await service.start()
        said = await answers(service, moods(service, "good dog", HANGS))
        assert failed(said) == [1]
        assert said[1] == Failed("computing it took longer than 1 s")
        await cannot_be_killed(service)
        hangs = asyncio.create_task(answers(service, moods(service, HANGS)))
        await asyncio.sleep(0)
        await busy(service)
        await service.stop(0.01)  # which waits no longer than it is told
        with pytest.raises(Draining):
            await hangs

    async def cannot_be_killed(service: WorkerService) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Child, "kill", lambda _: None)
            patch.setattr("trivium.apps.serve.keeper.STUCK_S", 0.0)
            hangs = asyncio.create_task(answers(service, moods(service, HANGS)))
            while service.alive:
                await asyncio.sleep(0.01)
            hangs.cancel()
        workers()[-1].kill()
        while not service.ready:
            await asyncio.sleep(0.01)
        assert service.alive

    runner.run(hang())


def test_a_worker_that_loads_another_model_than_before_is_not_taken(
    service: WorkerService,
) -> None:
    """For texts were read, and answers are said, as the first one told."""
    with pytest.raises(NotStarted, match="holds another model than when the server was started"):
        service.met(service.described.model_copy(update={"precision": "bf16"}))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="open files are not told here")
@pytest.mark.parametrize("loops", ["asyncio", "uvloop"])
def test_of_a_process_that_ended_nothing_stays_open(loops: str) -> None:
    make = pytest.importorskip(loops).new_event_loop

    async def opened() -> list[int]:
        counts = []
        for _ in range(3):
            child = await Child.start(("cat",), os.environ)
            await child.end(30)
            await asyncio.sleep(0)  # in which a pipe is closed
            counts.append(len(os.listdir("/proc/self/fd")))
        return counts

    with Runner(loop_factory=make) as runner:
        assert len(set(runner.run(opened()))) == 1


FRONT = """
import asyncio, sys
from trivium.apps.serve.asks import RowAsk
from trivium.apps.serve.service import WorkerService

async def main():
    service = WorkerService(sys.argv[1], workers=1, command=sys.argv[3:])
    await service.start()
    (reader,) = service.readers
    service.ask([RowAsk(tuple(reader.asked({"mood": [sys.argv[2]]})))], 1e12)
    while service.load().longest_batch_s == 0:
        await asyncio.sleep(0.01)
    print("computing", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.mark.thorough
@pytest.mark.whole_run
def test_workers_end_with_their_front_even_if_it_is_killed(run: Path) -> None:
    """Also where they are computing; and a Ctrl-C, which the whole group gets, is the front's."""
    command = [sys.executable, "-c", FRONT, str(run), HANGS, *COMMAND]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as front:
        try:
            assert front.stdout is not None
            assert front.stdout.readline() == "computing\n"
            (worker,) = psutil.Process(front.pid).children()
            os.kill(worker.pid, signal.SIGINT)
            os.kill(worker.pid, signal.SIGTERM)
            time.sleep(0.1)
            assert psutil.Process(front.pid).children() == [worker]
        finally:
            front.kill()
    wait_until(lambda: not worker.is_running() or worker.status() == psutil.STATUS_ZOMBIE)
