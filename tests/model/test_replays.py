"""Sequences of operations that are recorded once they have come again; graphs need a GPU."""

from collections.abc import Callable

import pytest

from trivium.model.replays import Body, Recorder, Replays


class Counted:
    """Counts how often it ran."""

    def __init__(self, key: str) -> None:
        self.key, self.runs = key, 0

    def run(self) -> None:
        self.runs += 1


class Graphs:
    """Records what it is told; a graph of it runs it, and is counted."""

    def __init__(self) -> None:
        self.made, self.launched = 0, 0

    def __call__(self, body: Body) -> Body:
        self.made += 1

        def launch() -> None:
            self.launched += 1
            body()

        return launch


def failing(body: Body) -> Body:
    raise RuntimeError("no graph of this\nand more words")


def test_what_comes_once_is_not_recorded_and_what_comes_again_once() -> None:
    graphs = Graphs()
    replays = Replays(Counted, Recorder(graphs))
    for key in ("a", "b", "a", "a", "a"):
        replays.run(key)
    assert (graphs.made, graphs.launched) == (1, 3)
    assert [replays[key].runs for key in ("a", "b")] == [4, 1]
    assert (len(replays), replays.recorded) == (2, 1)


def test_the_latest_used_are_kept() -> None:
    made: list[str] = []

    def make(key: str) -> Counted:
        made.append(key)
        return Counted(key)

    replays = Replays(make, Recorder(Graphs()), most=2)
    for key in ("a", "b", "a", "c", "a", "b"):
        replays.run(key)
    assert made == ["a", "b", "c", "b"]  # c took the place of b, and b that of c
    assert len(replays) == 2
    replays.forget("a")
    assert len(replays) == 1
    replays.forget()
    assert len(replays) == 0


@pytest.mark.parametrize("record", [None, failing])
def test_what_cannot_be_recorded_runs_as_it_is(record: Callable[[Body], Body] | None) -> None:
    recorder = Recorder(record)
    replays = Replays(Counted, recorder)
    for _ in range(3):
        replays.run("a")
    assert replays["a"].runs == 3
    assert replays.recorded == 0
    assert recorder.failure == ("no graph of this" if record else "")


def test_after_a_failure_nothing_is_recorded_and_graphs_go_on() -> None:
    graphs = Graphs()
    recorder = Recorder(lambda body: failing(body) if graphs.made else graphs(body))
    replays = Replays(Counted, recorder)
    for key in ("a", "a", "b", "b", "c", "c", "a"):
        replays.run(key)
    assert (graphs.made, graphs.launched) == (1, 2)
    assert [replays[key].runs for key in "abc"] == [3, 2, 2]
