"""A study is its runs, whatever stops it on the way; its table is what their scores say."""

import csv
import fcntl
import json
import os
import re
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from rich.console import Console
from safetensors.torch import save_file
from typer.testing import CliRunner

import trivium
from tests.support.facts import facts
from tests.support.forks import Forks
from tests.support.processes import newest, wait_until
from tests.support.shell import spoken
from tests.support.studies import finish_by_hand, refusal
from tests.support.tables import make_recipe
from trivium.apps.study import _carry_out, _make_folder, board, has_failures, study
from trivium.apps.study.runs import plan_study, uneven
from trivium.apps.study.shown import as_markdown, print_table
from trivium.apps.study.table import summarise
from trivium.cli import app
from trivium.digest import sha256
from trivium.errors import RecipeError
from trivium.recipe import load_recipe
from trivium.run.folder.differences import ABSENT, differences
from trivium.run.folder.panels import read_contents
from trivium.run.folder.studies import folders_of
from trivium.run.jobs import child
from trivium.run.jobs.child import Outcome, Stop
from trivium.run.jobs.follow import Progress


def write(path: Path, values: dict[str, Any], **stage: Any) -> Path:
    path.write_text(yaml.safe_dump(values | {"stages": [values["stages"][0] | stage]}))
    return path


@pytest.fixture
def values(tiny: Path, tmp_path: Path) -> dict[str, Any]:
    return make_recipe(tiny, tmp_path)


@pytest.fixture
def pair(values: dict[str, Any], tmp_path: Path) -> list[Path]:
    """Two recipes that differ in their sampler and combiner."""
    other = {"sampler": "joint", "combiner": "pcgrad"}
    return [
        write(tmp_path / "base.yaml", values),
        write(tmp_path / "surgery.yaml", values, **other),
    ]


def finish_pair(pair: list[Path], out: Path) -> None:
    """All of a study of two seeds, with scores that are easy to average."""
    for recipe, moods in zip(pair, ([0.5, 0.7], [0.65, 0.65]), strict=True):
        for seed, mood in enumerate(moods):
            scores = {"mood": mood, "same": 0.5 + 0.1 * seed, "near": 0.25}
            first = {"seconds": 20.0 + seed}
            cost = first if recipe is pair[0] else {"trained_parameters": 1234.0}
            finish_by_hand(recipe, out, seed, scores, cost)


# --- the table ---------------------------------------------------------------------------------


def test_a_row_is_the_mean_and_sample_deviation_of_its_seeds(
    pair: list[Path], tmp_path: Path
) -> None:
    finish_pair(pair, tmp_path / "out")
    console, _ = spoken()
    table = study(pair, tmp_path / "out", seeds=2, console=console)
    assert table == json.loads((tmp_path / "out" / "table.json").read_text())
    base, surgery = table["recipes"]
    assert base["tasks"]["mood"]["metric"] == "accuracy"
    assert base["tasks"]["mood"]["values"] == [0.5, 0.7]
    assert base["tasks"]["mood"]["mean"] == pytest.approx(0.6)
    assert base["tasks"]["mood"]["sd"] == pytest.approx(0.1 * 2**0.5)  # n - 1
    assert surgery["tasks"]["mood"]["sd"] == 0
    # Means over three tasks: (0.5 + 0.5 + 0.25) / 3 and (0.7 + 0.6 + 0.25) / 3.
    assert base["overall"]["mean"]["mean"] == pytest.approx((1.25 + 1.55) / 6)
    assert base["overall"]["leaderboard"]["mean"] == pytest.approx((1.25 + 1.55) / 6 + 0.1)
    assert base["cost"]["seconds"]["mean"] == 20.5
    assert base["cost"]["trained_parameters"]["mean"] is None
    assert surgery["cost"]["trained_parameters"]["mean"] == 1234
    assert surgery["differs"] == {
        "stages.0.sampler.kind": ["proportional", "joint"],
        "stages.0.sampler.epoch": [None, "mean"],
        "stages.0.combiner.kind": ["sum", "pcgrad"],
    }
    assert not has_failures(table)
    notes: list[str] = []
    runs = folders_of(tmp_path / "out", notes)
    names = [str(run.relative_to(tmp_path / "out")) for run in runs]
    assert names == ["base/seed-0", "base/seed-1", "surgery/seed-0", "surgery/seed-1"]
    assert not notes
    assert folders_of(tmp_path / "out" / "surgery", notes) == runs[2:]
    (runs[3] / "scores.json").unlink()
    assert folders_of(tmp_path / "out" / "surgery", notes) == runs[2:3]
    assert notes == [f"{tmp_path / 'out'}: left out, since they are not finished: surgery/seed-1."]


def test_the_markdown_says_what_a_reader_needs(pair: list[Path], tmp_path: Path) -> None:
    finish_pair(pair, tmp_path / "out")
    console, said = spoken()
    study(pair, tmp_path / "out", seeds=2, console=console)
    text = (tmp_path / "out" / "table.md").read_text()
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    titles = ["recipe", "seeds", "mood accuracy", "near pearson", "same accuracy"]
    assert sorted(rows[0][:5]) == sorted(titles)
    base, surgery = (dict(zip(rows[0], row, strict=True)) for row in rows[2:])
    assert (base["recipe"], surgery["recipe"]) == ("base", "surgery")
    assert base["seeds"] == "2/2"
    assert base["mood accuracy"] == "0.6000 ± 0.1414"
    assert surgery["mood accuracy"] == "**0.6500 ± 0.0000**"
    assert base["near pearson"] == surgery["near pearson"] == "0.2500 ± 0.0000"  # none is best
    assert (base["seconds"], surgery["seconds"]) == ("20.5", "**10.0**")
    assert (base["trained parameters"], surgery["trained parameters"]) == ("–", "1,234")
    assert base["peak memory, GiB"] == "1.00"
    assert "Scores on dev, mean ± sample standard deviation over 2 seeds (0 to 1)" in text
    assert "- **surgery**: " in text
    assert "- `stages.0.combiner.kind`: sum -> pcgrad" in text
    assert "QQP" not in text
    assert "Not finished" not in text
    for words in ("0.6000 ± 0.1414", "1,234", "table.md", "skipped", "1/4 base seed 0"):
        assert words in said.getvalue()


def test_one_seed_has_no_deviation(pair: list[Path], tmp_path: Path) -> None:
    finish_pair(pair, tmp_path / "out")
    console, _ = spoken()
    table = study(pair, tmp_path / "out", seeds=1, console=console)
    assert table["recipes"][0]["tasks"]["mood"]["sd"] is None
    text = (tmp_path / "out" / "table.md").read_text()
    assert "±" not in text
    assert "| 0.5000 |" in text
    assert "one seed" in text


def test_what_is_not_finished_is_listed(pair: list[Path], tmp_path: Path) -> None:
    finish_pair(pair, tmp_path / "out")
    (tmp_path / "out" / "base" / "seed-1" / "scores.json").unlink()
    plan = plan_study(pair, tmp_path / "out", 3, [])
    failed = next(run for run in plan.runs if str(run) == "surgery seed 2")
    table = summarise(plan, {failed: "exit code 1"})
    assert table.recipes[0].n == 1
    text = as_markdown(table)
    for line in (
        "base seed 1: unfinished",
        "base seed 2: not started",
        "surgery seed 2: failed, exit code 1",
        plan.command,
    ):
        assert line in text
    assert "surgery seed 1:" not in text
    console, said = spoken()
    print_table(table, console)
    assert "not finished: base seed 2: not started" in said.getvalue()
    assert has_failures(table.as_dict())


def test_minilm_comes_with_a_word_on_what_it_has_seen(
    values: dict[str, Any], tmp_path: Path
) -> None:
    recipe = write(tmp_path / "base.yaml", values | {"encoder": "minilm"})
    assert "QQP" in as_markdown(summarise(plan_study([recipe], tmp_path / "out", 1, []), {}))


def test_overall_scores_over_different_tasks_are_not_ranked(
    values: dict[str, Any], tmp_path: Path
) -> None:
    one = values | {"tasks": {"mood": values["tasks"]["mood"]}}
    recipes = [write(tmp_path / "all.yaml", values), write(tmp_path / "one.yaml", one)]
    finish_by_hand(recipes[0], tmp_path / "out", 0, {"mood": 0.5, "same": 0.5, "near": 0.2}, {})
    finish_by_hand(recipes[1], tmp_path / "out", 0, {"mood": 0.9}, {})
    text = as_markdown(summarise(plan_study(recipes, tmp_path / "out", 1, []), {}))
    row = next(line for line in text.splitlines() if line.startswith("| one "))
    assert "| **0.9000** |" in row
    assert "| 1.0000 | 0.9000 |" in row  # overall: shown, not marked
    assert row.count("–") == 3  # two tasks it does not have, and trained parameters
    assert "differ in their tasks or dev rows" in text
    assert "  - `tasks.near`: {kind: regression, " in text
    assert "… -> none" in text
    assert "none -> none" not in text


def test_differences_are_named_by_dotted_path() -> None:
    old = {"a": 1, "b": {"c": [1, {"d": 2}], "e": None}}
    new = {"a": 1, "b": {"c": [1, {"d": 3}, 4], "f": 5}}
    assert list(differences(old, new)) == [
        ("b.c.1.d", 2, 3),
        ("b.c.2", ABSENT, 4),
        ("b.e", None, ABSENT),
        ("b.f", ABSENT, 5),
    ]
    assert list(differences(old, old)) == []


def test_labels_in_another_order_are_a_difference_and_other_tables_are_none() -> None:
    labels = {"ham": "ham", "spam": "spam"}
    old = {"tasks": {"mail": {"labels": labels, "class_weights": {"ham": 1, "spam": 2}}}}
    turned = {"labels": {"spam": "spam", "ham": "ham"}, "class_weights": {"spam": 2, "ham": 1}}
    (only,) = differences(old, {"tasks": {"mail": turned}})
    assert only == ("tasks.mail.labels", ["ham", "spam"], ["spam", "ham"])
    named = {"ham": "good", "spam": "spam"}
    assert list(
        differences({"tasks": {"mail": {"labels": labels}}}, {"tasks": {"mail": {"labels": named}}})
    ) == [("tasks.mail.labels.ham", "ham", "good")]


# --- what is refused ---------------------------------------------------------------------------


def test_a_folder_with_other_settings_is_refused(pair: list[Path], tmp_path: Path) -> None:
    finish_pair(pair, tmp_path / "out")
    said = refusal(tmp_path, pair, "stages.0.steps=9", seeds=2)
    assert "out/base/seed-0" in said
    assert "stages.0.steps was 12 and is now 9" in said
    (tmp_path / "out" / "base" / "seed-0" / "recipe.yaml").unlink()
    assert "but no run" in refusal(tmp_path, pair)


def test_labels_found_in_the_data_are_no_other_settings(
    values: dict[str, Any], pair: list[Path], tmp_path: Path
) -> None:
    finish_pair(pair, tmp_path / "out")
    path = tmp_path / "out" / "base" / "seed-0" / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    assert recipe["tasks"]["mood"]["labels"] is None
    recipe["tasks"]["mood"]["labels"] = {"down": "down", "up": "up"}
    path.write_text(yaml.safe_dump(recipe))
    study(pair, tmp_path / "out", seeds=1, console=spoken()[0])
    recipe["tasks"]["mood"]["labels"] = {"down": "sad", "up": "glad"}  # nobody finds these
    path.write_text(yaml.safe_dump(recipe))
    assert "tasks.mood.labels" in refusal(tmp_path, pair)


def test_every_wrong_recipe_is_named_before_anything_runs(
    values: dict[str, Any], pair: list[Path], tmp_path: Path
) -> None:
    two = values | {"stages": [*values["stages"], {"name": "more"}]}
    longer = tmp_path / "longer.yaml"
    longer.write_text(yaml.safe_dump(two))
    said = refusal(tmp_path, [longer, *pair], "stages.1.steps=3").splitlines()
    assert [line.split(": ")[0] for line in said] == [str(path) for path in pair]
    assert "'1' is not one of 0…0" in said[0]
    said = refusal(tmp_path, pair, "stages.0.stepz=1").splitlines()
    assert all("no such setting" in line for line in said)
    assert "no such recipe" in refusal(tmp_path, [tmp_path / "none.yaml"])


def test_two_files_of_one_name_are_refused_and_one_file_twice_is_one_row(
    values: dict[str, Any], pair: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    twin = write(tmp_path / "other" / "Base.yaml", values)
    assert "'Base'" in refusal(tmp_path, [*pair, twin])
    plan = plan_study([pair[1], *pair], tmp_path / "out", 1, [])
    assert [str(run) for run in plan.runs] == ["surgery seed 0", "base seed 0"]


def test_seeds_and_places_that_cannot_be_are_refused(pair: list[Path], tmp_path: Path) -> None:
    assert "--seeds" in refusal(tmp_path, pair, "seed=3")
    assert "at least one seed" in refusal(tmp_path, pair, seeds=0)
    assert "at least one recipe" in refusal(tmp_path, [])
    (tmp_path / "out").write_text("")
    assert "is a file" in refusal(tmp_path, pair)


def test_a_student_of_teachers_that_were_trained_anew_is_another_run(
    pair: list[Path], tmp_path: Path
) -> None:
    finish_pair(pair, out := tmp_path / "out")
    teacher, student = out / "surgery" / "seed-0" / "model", out / "base" / "seed-0"
    teacher.mkdir()
    (teacher / "trivium.json").write_text('{"files": {}, "tasks": {}}')
    (student / "teachers").mkdir()
    asked = {"run": str(teacher.parent), "task": "mood", "sha256": sha256(teacher / "trivium.json")}
    gone = asked | {"run": str(tmp_path / "gone")}
    header = {"trivium": json.dumps({"task": "mood", "teachers": [asked, gone]})}
    save_file({"readout": torch.zeros(1)}, student / "teachers" / "mood.safetensors", header)
    (student / "teachers" / "near.safetensors").write_text("cut off")
    assert study(pair, out, seeds=1, console=spoken()[0])["recipes"][0]["n"] == 1
    plan = plan_study(pair, out, 1, [])
    (teacher / "trivium.json").write_text('{"files": {}, "tasks": {"mood": {}}}')
    said = refusal(tmp_path, pair)
    assert f"learned from {teacher.parent}, trained anew since" in said
    assert f"Delete {student} " in said
    outcome = _carry_out(plan.runs[0], Stop(), board.Board(spoken()[0], plan))
    assert (outcome.state, outcome.how) == ("failed", "skipped"), "made anew by the same study"


# --- one child ---------------------------------------------------------------------------------

STUBBORN = (
    "import signal, time; signal.signal(signal.SIGINT, lambda *_: print('asked', flush=True)); "
    "print('ready', flush=True); time.sleep(60)"
)


def test_a_second_ctrl_c_kills_a_child_that_does_not_stop(tmp_path: Path) -> None:
    stop = Stop()
    path = tmp_path / "log"

    def watch() -> None:
        words = path.read_text().split()
        stop.asked = 2 if "asked" in words else 1 if "ready" in words else 0

    with path.open("a") as log:
        code = child._follow([sys.executable, "-c", STUBBORN], log, stop, watch)
    assert code == -signal.SIGKILL


@pytest.mark.parametrize("name", ["\U0001f600 x", "a'b\"c", "# x: [1", "\x85", "1e3"])
def test_a_run_starts_from_a_folder_of_any_name(
    values: dict[str, Any], tmp_path: Path, name: str
) -> None:
    first = write(tmp_path / "first.yaml", values)
    second = write(tmp_path / "second.yaml", values | {"start": "first.yaml"})
    run = plan_study([second, first], tmp_path / name, 1, []).runs[1]
    folder = str(tmp_path.resolve() / name / "first" / "seed-0")
    assert run.recipe.start == folder
    assert load_recipe(second, run.changes).start == folder


def test_studies_that_begin_at_the_same_moment_are_in_nobody_s_way(
    pair: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_study(pair, tmp_path / "out", 1, [])
    touch, begun = Path.touch, []

    def touch_and_let_another_begin(path: Path) -> None:
        touch(path)
        begun.append(path)
        if len(begun) == 1:
            _make_folder(plan)

    monkeypatch.setattr(Path, "touch", touch_and_let_another_begin)
    _make_folder(plan)
    assert len(begun) == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_a_run_that_another_process_trains_is_waited_for(pair: list[Path], tmp_path: Path) -> None:
    run = plan_study(pair, tmp_path / "out", 1, []).runs[0]
    run.log.parent.mkdir(parents=True)
    other = run.log.open("a")
    fcntl.flock(other, fcntl.LOCK_EX)
    waited_for = []

    def watch(_start: int, what: str) -> None:
        waited_for.append(what)
        finish_pair(pair, tmp_path / "out")
        other.close()

    assert child.train_run(run, Stop(), watch) == Outcome("done", "skipped")
    assert "another process" in waited_for[0]


def test_what_a_child_ended_with_is_said_in_words(pair: list[Path], tmp_path: Path) -> None:
    run = plan_study(pair, tmp_path / "out", 1, []).runs[0]
    assert "SIGKILL; out of memory?" in child._what_went_wrong(run, -signal.SIGKILL)
    assert child._what_went_wrong(run, 2) == "exit code 2"
    assert "without scores" in child._what_went_wrong(run, 0)
    finish_pair(pair, tmp_path / "out")
    assert child._what_went_wrong(run, 0) == ""
    changed = plan_study(pair, tmp_path / "else", 1, ["stages.0.steps=9"]).runs[0]
    (tmp_path / "out").rename(tmp_path / "else")
    assert "the recipe changed meanwhile" in child._what_went_wrong(changed, 0)


def test_progress_is_the_share_of_all_stages_and_survives_a_cut(
    values: dict[str, Any], tmp_path: Path
) -> None:
    stages = [{"name": "first", "steps": 4}, {"name": "second", "steps": 10}]
    recipe = tmp_path / "base.yaml"
    recipe.write_text(yaml.safe_dump(values | {"stages": stages}))
    run = plan_study([recipe], tmp_path / "out", 1, []).runs[0]
    progress = Progress(run.folder, ["first", "second"])
    progress.look(0.0)
    assert (progress.done, progress.remaining_s(0.0)) == (0.0, None)
    run.folder.mkdir(parents=True)
    journal = run.folder / "journal.jsonl"
    lines = ['{"event": "stage", "stage": "first", "steps": 4}']
    lines += [f'{{"event": "step", "stage": "first", "step": {step}}}' for step in (1, 2)]
    journal.write_text("\n".join(lines[:2]) + "\n" + lines[2][:9])  # a line half written
    progress.look(10.0)
    assert (progress.stage, progress.step, progress.steps) == ("first", 1, 4)
    journal.write_text("\n".join(lines) + "\n")
    progress.look(20.0)
    assert progress.done == pytest.approx(1 / 4)
    # An eighth in ten seconds; six more to go.
    assert progress.remaining_s(20.0) == pytest.approx(60.0)
    journal.write_text("\n".join(lines[:2]) + "\n")
    progress.look(30.0)
    journal.write_text("\n".join(lines) + "\n")
    progress.look(40.0)
    assert progress.step == 2
    assert progress.remaining_s(40.0) == pytest.approx(60.0)


def test_a_terminal_shows_the_present_run(pair: list[Path], tmp_path: Path) -> None:
    finish_pair(pair, tmp_path / "out")
    plan = plan_study(pair, tmp_path / "out", 3, [])
    said = StringIO()
    with board.Board(Console(file=said, force_terminal=True, width=100), plan) as shown:
        for run in plan.runs[:4]:
            shown.end(run, Outcome("done", "skipped"))
        present = plan.runs[4]
        shown.begin(present)
        present.folder.mkdir(parents=True)
        (present.folder / "journal.jsonl").write_text(
            '{"event": "stage", "stage": "train", "steps": 12}\n'
            '{"event": "step", "stage": "train", "step": 3}\n'
        )
        present.log.write_text("train 3/12 · mood loss 1.2\n")
        shown.watch(0, "")
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", said.getvalue())
    assert "5/6 base seed 2: stage train 3/12" in text
    assert "train 3/12 · mood loss 1.2" in text
    # What base and surgery took so far: 20.5 and 10 seconds.
    assert "study ETA 0:00:30" in text


# --- whole studies -----------------------------------------------------------------------------

LONG = {"steps": 160, "evaluate_every": 80, "checkpoint_every": 4}

SHORT = {"short": {"rows": 64, "dev_rows": 20, "set": {"stages.0.batch_size": 4}}}


pytestmark = pytest.mark.xdist_group("study")  # the whole study is run once


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """The tensors of children are tiny, and threads of parallel tests would fight."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def home(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two recipes, of which one is long enough to be stopped in the middle, and
    their ensemble."""
    folder = tmp_path_factory.mktemp("study")
    values = make_recipe(tiny, folder)
    values |= {"budgets": SHORT}
    write(folder / "long.yaml", values, **LONG)
    write(folder / "joint.yaml", values, sampler="joint")
    union = {"members": ["joint.yaml", "long.yaml"], "how": "vote"}
    (folder / "both.yaml").write_text(yaml.safe_dump({"ensemble": union}))
    return folder


@pytest.fixture(scope="module")
def whole(home: Path) -> tuple[Path, str]:
    """A study without a break, and what it said."""
    console, said = spoken()
    recipes = [home / f"{name}.yaml" for name in ("both", "long", "joint")]
    study(recipes, home / "whole", seeds=2, budget="short", console=console)
    return home / "whole", said.getvalue()


def words(home: Path, out: Path) -> list[str]:
    """The command of a study of both recipes with one seed."""
    recipes = [str(home / "joint.yaml"), str(home / "long.yaml")]
    return ["study", *recipes, "--seeds", "1", "--budget", "short", "--out", str(out)]


def is_free(log: Path) -> bool:
    """Whether no process trains the run of this log any more."""
    with log.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_a_study_is_one_folder_per_run_and_one_line_each(whole: tuple[Path, str]) -> None:
    out, said = whole
    table = json.loads((out / "table.json").read_text())
    assert [row["name"] for row in table["recipes"]] == ["both", "long", "joint"]
    for row in table["recipes"][1:]:
        scores = [
            json.loads((out / row["name"] / f"seed-{seed}" / "scores.json").read_text())
            for seed in (0, 1)
        ]
        assert [run["state"] for run in row["runs"]] == ["done", "done"]
        for task, told in row["tasks"].items():
            assert told["values"] == [s["tasks"][task]["dev"][told["metric"]] for s in scores]
        assert row["cost"]["peak_memory_bytes"]["mean"] > 2**20
        recipe = yaml.safe_load((out / row["name"] / "seed-1" / "recipe.yaml").read_text())
        assert recipe["seed"] == 1
    log = (out / "long" / "seed-0.log").read_text()
    assert "train 160/160" in log
    assert "\x1b" not in log
    lines = [line for line in said.splitlines() if " seed " in line]
    names = [f"{name} seed {seed}" for seed in (0, 1) for name in ("long", "joint", "both")]
    assert [line.split(": ")[0] for line in lines] == [
        f"{i + 1}/6 {n}" for i, n in enumerate(names)
    ]
    assert all(": done · " in line for line in lines)
    assert all("ETA 0:" in line for line in lines[:4])
    assert "ETA" not in lines[5]


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_a_budget_s_samples_are_those_that_a_run_is_judged_by_later(
    home: Path, whole: tuple[Path, str]
) -> None:
    run = whole[0] / "joint" / "seed-1"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert recipe["tasks"]["mood"]["dev"] == {"file": "mood-dev.tsv", "rows": 20}
    assert not {"budgets", "reported"} & set(recipe)
    with (run / "predictions" / "mood-dev.csv").open() as file:
        rows = list(csv.DictReader(file))
    lines = (home / "data" / "mood-dev.tsv").read_text().splitlines()
    assert len(rows) == 20
    for row in rows:
        assert lines[int(row["line"]) - 1].split("\t")[1:] == [row["text"], row["label"]]
    scores = json.loads((run / "scores.json").read_text())
    assert scores["tasks"]["mood"]["dev"]["rows"] == 20
    assert trivium.evaluate(run)["tasks"] == scores["tasks"]


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_an_ensemble_is_made_of_each_seed_s_runs(whole: tuple[Path, str]) -> None:
    out, _ = whole
    table = json.loads((out / "table.json").read_text())
    both, long, joint = table["recipes"]
    assert both["n"] == 2
    assert both["ensemble"] == {"how": "vote", "members": ["joint", "long"]}
    for seed in (0, 1):
        contents = read_contents(out / "both" / f"seed-{seed}")
        origins = [str(out / name / f"seed-{seed}" / "model") for name in ("joint", "long")]
        assert [origin.folder for origin in contents.members] == origins
        scores = json.loads((out / "both" / f"seed-{seed}" / "scores.json").read_text())
        assert scores["tasks"]["near"]["dev"]["rows"] == 20
        assert both["tasks"]["near"]["values"][seed] == scores["tasks"]["near"]["dev"]["pearson"]
    for cost in ("seconds", "trained_parameters"):
        mean = long["cost"][cost]["mean"] + joint["cost"][cost]["mean"]
        assert both["cost"][cost]["mean"] == pytest.approx(mean)
    assert both["cost"]["tokens_per_s"]["mean"] is None
    text = (out / "table.md").read_text()
    assert "- **both**: `" in text
    assert "joint + long by vote" in text
    assert "costs are those of its members together" in text
    assert "Budget: short." in text


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_an_ensemble_that_was_killed_half_made_is_made_again(  # noqa: PLR0915
    home: Path, whole: tuple[Path, str], forks: Forks, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for name in ("joint", "long"):
        shutil.copytree(whole[0] / name / "seed-0", out / name / "seed-0")
    process = forks.start(*words(home, out), home / "both.yaml")
    wait_until(lambda: any((out / "both").glob(".seed-0.*.new")), process)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    wait_until(lambda: is_free(out / "both" / "seed-0.log"))
    shutil.rmtree(out / "both" / "seed-0", ignore_errors=True)  # if it was faster
    half = out / "both" / ".seed-0.0123abcd.new"
    half.mkdir()
    (half / "ensemble.json").write_text("{")

    recipes = [home / f"{name}.yaml" for name in ("joint", "long", "both")]
    console, said = spoken()
    study(recipes, out, seeds=1, budget="short", console=console)
    assert "3/3 both seed 0: done" in said.getvalue()
    assert not list((out / "both").glob(".*"))
    scores = [json.loads((o / "both/seed-0/scores.json").read_text()) for o in (out, whole[0])]
    assert scores[0]["tasks"] == scores[1]["tasks"]
    plan = plan_study(recipes, out, 1, [], "short")
    union = plan.runs[-1]
    assert union.is_finished
    (out / "long" / "seed-0" / "model" / "trivium.json").write_text("{}")
    assert not union.is_finished  # of a model that is no longer the member's
    (out / "long" / "seed-0" / "scores.json").unlink()
    assert list(map(str, union.waits_for)) == ["long seed 0"]
    other = {"members": ["joint.yaml", "long.yaml"], "how": "mean"}
    (home / "both.yaml").with_name("again").mkdir()
    text = yaml.safe_dump({"ensemble": other | {"members": [f"../{m}" for m in other["members"]]}})
    (home / "again" / "both.yaml").write_text(text)
    with pytest.raises(RecipeError, match="holds an ensemble of joint/seed-0, long/seed-0 by vote"):
        plan_study([*recipes[:2], home / "again" / "both.yaml"], out, 1, [], "short")


@pytest.mark.thorough
@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_a_study_that_was_stopped_and_killed_ends_as_if_it_never_was(  # noqa: PLR0915
    home: Path, whole: tuple[Path, str], forks: Forks, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    log, resume = out / "long" / "seed-0.log", out / "long" / "seed-0" / "resume"
    shutil.copytree(whole[0] / "joint" / "seed-0", out / "joint" / "seed-0")

    def press_ctrl_c() -> None:
        wait_until(lambda: newest(resume) >= 3)
        os.kill(os.getpid(), signal.SIGINT)

    presser = threading.Thread(target=press_ctrl_c)
    presser.start()
    result = CliRunner().invoke(app, words(home, out), env={"COLUMNS": "200"})
    presser.join()
    assert result.exit_code == 130, result.output
    assert "Traceback" not in result.output + log.read_text()
    said = " ".join(result.output.split())
    assert "stopping: long seed 0 saves" in said
    assert "1 of 2 runs are done. Go on with: trivium study" in said
    assert "long seed 0: unfinished" in (out / "table.md").read_text()
    saved = newest(resume)
    table = (out / "table.json").read_bytes()

    process = forks.start(*words(home, out))  # it goes on, and is killed
    wait_until(lambda: newest(resume) >= saved + 3, process)
    process.send_signal(signal.SIGKILL)
    _, errors = process.communicate()
    assert "1/2 joint seed 0: finished before, skipped" in " ".join(errors.split())
    assert (out / "table.json").read_bytes() == table
    wait_until(lambda: is_free(log))  # its child saves and stops by itself
    assert not (out / "long" / "seed-0" / "scores.json").exists()

    console, said_last = spoken()
    recipes = [home / "joint.yaml", home / "long.yaml"]
    study(recipes, out, seeds=1, budget="short", console=console)
    assert "2/2 long seed 0: resumed, done" in said_last.getvalue()
    assert log.read_text().count("resumed at stage train") == 2
    for name in ("joint", "long"):
        assert facts(out / name / "seed-0") == facts(whole[0] / name / "seed-0")


@pytest.mark.whole_run
@pytest.mark.xdist_group("study")
def test_a_run_that_fails_is_shown_and_the_others_are_finished(
    values: dict[str, Any], tmp_path: Path
) -> None:
    mood = values["tasks"]["mood"] | {"train": "nowhere.tsv"}
    lame = write(tmp_path / "lame.yaml", values | {"tasks": values["tasks"] | {"mood": mood}})
    good = write(tmp_path / "good.yaml", values, steps=2)
    union = tmp_path / "union.yaml"
    union.write_text("ensemble: {members: [good.yaml, lame.yaml]}\n")
    console, said = spoken()
    table = study([lame, union, good], tmp_path / "out", seeds=1, console=console)
    states = [row["runs"][0]["state"] for row in table["recipes"]]
    assert states == ["failed", "failed", "done"]
    assert has_failures(table)
    for words in (
        "1/3 lame seed 0: failed, exit code 2", "nowhere.tsv", "2/3 good seed 0: done",
        "3/3 union seed 0: failed, waits for lame seed 0",
    ):  # fmt: skip
        assert words in said.getvalue()
    assert "go on with: trivium study" in said.getvalue()
    assert "lame seed 0: failed" in (tmp_path / "out" / "table.md").read_text()
    assert "nowhere.tsv" in (tmp_path / "out" / "lame" / "seed-0.log").read_text()


# --- each task alone ---------------------------------------------------------------------------


def test_each_task_alone_is_a_row_after_its_recipe(pair: list[Path], tmp_path: Path) -> None:
    plan = plan_study(pair[:1], tmp_path / "out", 2, ["stages.0.steps=1"], singles=True)
    rows = ["base", "base-only-mood", "base-only-near", "base-only-same"]
    assert list(plan.paths) == rows
    assert [run.name for run in plan.runs] == rows * 2
    near = plan.runs[-2]
    assert near.recipe == load_recipe(pair[0], ["stages.0.steps=1", "seed=1"], only=["near"])
    assert near.command[-2:] == ["--only", "near"]
    assert "--singles" in plan.command
    assert plan.command.count("base.yaml") == 1


def test_a_task_alone_with_as_many_steps_as_all_share_is_told_of(
    pair: list[Path], tmp_path: Path
) -> None:
    steps = plan_study(pair[:1], tmp_path / "out", 2, ["stages.0.steps=9"], singles=True)
    (line,) = uneven(steps)
    assert f"{pair[0].stem}: with `steps` in train each task alone gets all the steps" in line
    rows = ["stages.0.steps=null", "stages.0.epochs=1"]
    assert not uneven(plan_study(pair[:1], tmp_path / "out", 1, rows, singles=True))
    assert not uneven(plan_study(pair[:1], tmp_path / "out", 1, ["stages.0.steps=9"]))
    each = ["stages.0.steps=9", "stages.0.sampler=joint"]  # of which a step has a batch of each
    assert not uneven(plan_study(pair[:1], tmp_path / "out", 1, each, singles=True))


def test_a_recipe_of_one_task_is_its_own_baseline(values: dict[str, Any], tmp_path: Path) -> None:
    values["tasks"] = {"mood": values["tasks"]["mood"]}
    plan = plan_study(
        [write(tmp_path / "alone.yaml", values)], tmp_path / "out", 1, [], singles=True
    )
    assert list(plan.paths) == ["alone"]


def test_a_row_of_a_task_alone_is_no_other_recipe_s(pair: list[Path], tmp_path: Path) -> None:
    twin = tmp_path / "base-only-mood.yaml"
    shutil.copy(pair[0], twin)
    with pytest.raises(RecipeError, match="'base-only-mood', as another"):
        plan_study([pair[0], twin], tmp_path / "out", 1, [], singles=True)


@pytest.mark.thorough
def test_one_model_is_compared_with_those_of_its_tasks_alone(
    values: dict[str, Any], tmp_path: Path
) -> None:
    values["tasks"] = {name: values["tasks"][name] for name in ("mood", "near")}
    recipe = write(tmp_path / "both.yaml", values, steps=2)
    words = ["compare", "--against-singles", str(recipe), "--runs", str(tmp_path / "runs")]
    words += ["--no-time", "--resamples", "100", "--out", str(tmp_path / "verdict.json")]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    verdict = json.loads((tmp_path / "verdict.json").read_text())
    against = {
        (each["system"], each["task"], each["baseline"])
        for each in verdict["comparisons"]
        if each["is_sharing"] and each["task"] != "overall"
    }
    assert against == {("both", "mood", "both-only-mood"), ("both", "near", "both-only-near")}
    again = CliRunner().invoke(app, [*words, "--overwrite"])
    assert again.exit_code == 0, again.output
    assert "3 of them finished" in again.output
