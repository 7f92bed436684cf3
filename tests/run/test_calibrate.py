"""`trivium calibrate` on a trained run: found, written, used everywhere alike, and undone."""

import json
import os
import shutil
import signal
import warnings
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from typer.testing import CliRunner

import trivium
from tests.support.tables import make_recipe, sentence, write_table
from trivium.apps.report.deciding import calibrated
from trivium.apps.report.runs import open_runs
from trivium.cli import app
from trivium.errors import RecipeError
from trivium.run.folder import atomic
from trivium.run.folder.decisions import read_figures, seal_as_trained

TEXTS = [sentence(11 * number) for number in range(40)]
PAIRS = [(sentence(3 * n), sentence(5 * n + 2)) for n in range(40)]


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


def add_tasks(recipe: dict[str, Any]) -> dict[str, Any]:
    """Two more about the texts of `mood`: which of three words are there, and how many are."""
    data = Path(recipe["data"])
    for split, numbers in (("train", range(96)), ("dev", range(96, 156))):
        rows: list[list[object]] = []
        for text in (sentence(7 * number) for number in numbers):
            words = [word for word in ("good", "cat", "very") if word in text.split()]
            rows.append([text, ",".join(words), min(2, len(words))])
        write_table(data / f"words-{split}.tsv", ["text", "words", "count"], rows)
    files = {"text": "text", "train": "words-train.tsv", "dev": "words-dev.tsv"}
    recipe["tasks"]["words"] = {
        "kind": "multilabel", "label": "words", "labels": ["good", "cat", "very"],
        "empty_cell": "none_apply", **files,
    }  # fmt: skip
    recipe["tasks"]["count"] = {"kind": "ordinal", "label": "count", "labels": [0, 1, 2], **files}
    return recipe


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrate")
    recipe = add_tasks(make_recipe(tiny, folder))
    trivium.train(recipe, folder / "run", changes=["stages.0.steps=60"], console=quiet())
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture(scope="module")
def done(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run with all its tasks calibrated, and the figures."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("done") / "run"))
    figures = trivium.calibrate(run, goal="accuracy", answer_where=0.5, console=quiet())
    return run, figures


def content(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


# --- what is found -----------------------------------------------------------------------------


def test_every_task_with_labels_is_calibrated_and_figures_are_kept(
    done: tuple[Path, dict[str, Any]],
) -> None:
    run, figures = done
    assert set(figures) == {"mood", "same", "words", "count"}
    assert json.loads((run / "calibration.json").read_text())["tasks"] == figures
    assert {name: of.as_dict() for name, of in read_figures(run).items()} == figures
    for of in figures.values():
        assert of["after"]["nll"] <= of["before"]["nll"] + 1e-9
        assert of["after"]["answered"] > 0
        assert of["after"]["right"] >= 0.5
        assert of["folds"] == 5
    for name in ("mood", "same", "count"):
        scores = [figures[name][side]["scores"]["accuracy"] for side in ("before", "after")]
        assert scores[0] <= scores[1]


def test_figures_before_are_those_of_the_training_and_after_those_of_evaluate(
    done: tuple[Path, dict[str, Any]], trained: Path
) -> None:
    run, figures = done
    was = json.loads((trained / "scores.json").read_text())["tasks"]
    now = trivium.evaluate(run, console=quiet())["tasks"]
    for name, of in figures.items():
        metric = of["metric"]
        assert of["before"]["scores"][metric] == pytest.approx(was[name]["dev"][metric])
        assert of["after"]["scores"][metric] == pytest.approx(now[name]["dev"][metric])
        assert of["after"]["answered"] == pytest.approx(now[name]["dev"]["answered"])
        assert of["after"]["right"] == pytest.approx(now[name]["dev"]["right_where_answered"])
    assert now["near"] == {"dev": pytest.approx(was["near"]["dev"])}
    assert json.loads((run / "scores.json").read_text())["tasks"] == was


def test_thresholds_that_nobody_asked_for_are_kept_only_if_they_gain_on_other_rows(
    run: Path,
) -> None:
    for of in trivium.calibrate(run, console=quiet()).values():
        changed = of["decide"].get("weights") or of["decide"].get("thresholds")
        if of["aim"] == "none":
            assert not changed
            assert "thresholds are left as they are" in of["notes"][-1]
        elif changed:
            score = "exact_match" if of["aim"] == "accuracy" and "exact_match" in of else of["aim"]
            before, fitted = (of[side]["scores"][score] for side in ("before", "crossfitted"))
            assert fitted > before


def test_a_share_of_labels_is_estimated_from_rows_without_and_counted_with(
    run: Path, tmp_path: Path
) -> None:
    table = tmp_path / "new.tsv"
    write_table(table, ["text"], [[text] for text in TEXTS])
    found = trivium.calibrate(
        run, task="mood", goal="none", shares_from=table, console=quiet()
    )["mood"]  # fmt: skip
    assert sum(now for _, now in found["shares"].values()) == pytest.approx(1)
    told = trivium.load(run).probabilities("mood", TEXTS)
    for name, (_, now) in found["shares"].items():
        mean = sum(each[name] for each in told) / len(told)
        assert mean == pytest.approx(now, abs=1e-3)  # the fixed point of the estimate


@pytest.mark.parametrize("name", ["mood", "same", "words", "count"])
def test_the_labelled_rows_have_the_shares_that_they_have(run: Path, name: str) -> None:
    """A model that is wrong about the shares of the very rows it is judged on shall not take that
    for a change."""
    recipe = trivium.load_recipe(run / "recipe.yaml")
    (dev,) = recipe.tasks[name].sources("dev")
    figures = trivium.calibrate(
        run, task=name, goal="none", shares_from=Path(recipe.data) / dev.file, console=quiet()
    )[name]
    for was, now in figures["shares"].values():
        assert now == pytest.approx(was, abs=1e-4)
    assert "may as well be unchanged" in figures["notes"][-1]
    assert figures["after"]["nll"] <= figures["before"]["nll"]


def test_costs_are_told_and_what_costs_least_is_answered(run: Path, tmp_path: Path) -> None:
    (tmp_path / "costs.csv").write_text("true,down,up\ndown,,1\nup,20,\n")
    found = trivium.calibrate(run, task="mood", costs=tmp_path / "costs.csv", console=quiet())
    of = found["mood"]
    assert of["after"]["cost"] <= of["before"]["cost"]
    model = trivium.load(run)
    told = model.probabilities("mood", TEXTS)
    wanted = ["up" if 20 * each["up"] > each["down"] else "down" for each in told]
    assert model.predict("mood", TEXTS) == wanted
    by_distance = trivium.calibrate(run, task="count", costs="distance", console=quiet())
    assert by_distance["count"]["aim"] == "costs"
    words = {name: {"missed": 4, "false_alarm": 1} for name in ("good", "cat", "very")}
    found = trivium.calibrate(run, task="words", costs=words, console=quiet())
    assert set(found["words"]["decide"]["thresholds"].values()) == {0.2}


# --- used alike --------------------------------------------------------------------------------


def test_files_frames_rows_and_a_saved_copy_answer_alike(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    run, _ = done
    write_table(tmp_path / "in.tsv", ["text"], [[text] for text in TEXTS])
    trivium.predict_file(
        run, ["mood", "words", "count"], tmp_path / "in.tsv", tmp_path / "out.jsonl",
        probabilities=True, top_k=1,
    )  # fmt: skip
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    model = trivium.load(run)
    model.save(tmp_path / "copy")
    copy = trivium.load(tmp_path / "copy")
    for task in ("mood", "words", "count"):
        answers = [row[f"{task}_prediction"] or "" for row in rows]
        assert model.predict(task, TEXTS) == answers == copy.predict(task, TEXTS)
        assert {row[f"{task}_answered"] for row in rows} <= {"yes", "no"}
        for row, told in zip(rows, model.probabilities(task, TEXTS), strict=True):
            assert all(row[f"{task}_probability_{name}"] == p for name, p in told.items())
            assert row[f"{task}_top_1_probability"] == max(told.values())
            if row[f"{task}_answered"] == "no":
                assert not row[f"{task}_prediction"]
    assert any("no" in (row["words_answered"], row["count_answered"]) for row in rows)
    assert model.answer([{"text": TEXTS[0]}])[0]["mood"] == model.predict("mood", TEXTS[:1])[0]
    assert model.explain("mood", TEXTS[0]).answer == model.predict("mood", TEXTS[:1])[0]


@pytest.mark.thorough
def test_members_of_an_ensemble_answer_as_they_were_trained(
    done: tuple[Path, dict[str, Any]], trained: Path, tmp_path: Path
) -> None:
    run, _ = done
    shutil.copytree(trained, tmp_path / "other")
    scores = [
        trivium.ensemble(members, tmp_path / name, console=quiet())["tasks"]
        for name, members in (("one", [trained, tmp_path / "other"]), ("two", [run, trained]))
    ]
    assert scores[0] == scores[1]
    one, two = trivium.load(tmp_path / "one"), trivium.load(tmp_path / "two")
    assert one.probabilities("mood", TEXTS) == two.probabilities("mood", TEXTS)
    assert one.predict("mood", TEXTS) == two.predict("mood", TEXTS)
    with pytest.raises(RecipeError, match="is an ensemble"):
        trivium.calibrate(tmp_path / "two", console=quiet())


def test_a_run_that_started_from_a_model_goes_on_after_that_is_calibrated(
    done: tuple[Path, dict[str, Any]], trained: Path
) -> None:
    run, _ = done
    assert seal_as_trained(run / "model") == seal_as_trained(trained / "model")


def test_a_submission_has_no_place_for_rows_without_an_answer(
    done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    write_table(tmp_path / "in.tsv", ["id", "first", "second"], [[1, "good", "bad"]])
    with pytest.raises(RecipeError, match="leaves rows without an answer"):
        trivium.predict_file(
            done[0], "same", tmp_path / "in.tsv", tmp_path / "out.csv", form="cs224n"
        )


def test_a_report_shows_before_and_after_of_calibrated_runs_only(
    done: tuple[Path, dict[str, Any]], trained: Path
) -> None:
    run, figures = done
    assert calibrated(open_runs([trained])) == []
    (section,) = calibrated(open_runs([trained, run]))
    assert len(section.panels) == 3 * len(figures)
    table, reliability, coverage = section.panels[:3]
    assert table.table is not None
    assert table.table.heads == ["", "before", "after", "cross-fitted"]
    assert table.table.rows[0][:2] == [
        "accuracy", f"{figures['mood']['before']['scores']['accuracy']:.4f}"
    ]  # fmt: skip
    assert reliability.figure is not None
    assert coverage.figure is not None
    assert [trace["name"] for trace in coverage.figure.traces] == ["before", "cross-fitted"]
    for whole, side in zip(coverage.figure.traces, ("before", "crossfitted"), strict=True):
        assert whole["x"][-1] == 1
        accuracy = figures["mood"][side]["scores"]["accuracy"]
        assert whole["y"][-1] == pytest.approx(accuracy, abs=1e-4)
        errors = [t["name"].endswith(f"{figures['mood'][side]['ece']:.3f}")
                  for t in reliability.figure.traces[1:]]  # fmt: skip
        assert any(errors)


# --- written, and undone -----------------------------------------------------------------------


def test_undo_brings_back_every_byte(run: Path, trained: Path) -> None:
    trivium.calibrate(run, goal="accuracy", answer_where=0.5, console=quiet())
    altered = {n for n, was in content(trained).items() if content(run)[n] != was}
    assert altered == {"model/trivium.json", "model/README.md"}
    trivium.calibrate(run, undo=True, task="mood", console=quiet())
    assert set(read_figures(run)) == {"same", "words", "count"}
    trivium.calibrate(run, undo=True, console=quiet())
    assert content(run) == content(trained)


def test_a_dry_run_writes_nothing(run: Path, trained: Path) -> None:
    assert trivium.calibrate(run, dry_run=True, console=quiet())
    assert content(run) == content(trained)


def test_a_dry_run_of_undo_takes_nothing_out(run: Path) -> None:
    trivium.calibrate(run, task="mood", goal="accuracy", console=quiet())
    was = content(run)
    told = quiet()
    trivium.calibrate(run, undo=True, dry_run=True, console=told)
    assert content(run) == was
    assert isinstance(told.file, StringIO)
    assert told.file.getvalue().splitlines() == [
        "as it was trained: mood", "nothing was written (--dry-run)",
    ]  # fmt: skip


def test_a_damaged_file_of_figures_is_told_of_before_anything_is_written(
    run: Path, trained: Path
) -> None:
    trivium.calibrate(run, goal="accuracy", console=quiet())
    (run / "calibration.json").write_text('{"tasks": {"mood": 3}}')
    was = content(run)
    for settings in ({"task": "same"}, {"undo": True, "task": "same"}):
        with pytest.raises(RecipeError, match="delete it, and calibrate again"):
            trivium.calibrate(run, **settings, console=quiet())
        assert content(run) == was
    trivium.calibrate(run, undo=True, console=quiet())  # of which nothing is left to be told
    assert content(run) == content(trained)


@pytest.mark.thorough
def test_to_calibrate_again_is_to_start_from_the_trained_model(run: Path) -> None:
    first = trivium.calibrate(run, goal="accuracy", console=quiet())
    kept = content(run)
    trivium.calibrate(run, goal="none", answer_where=0.5, console=quiet())
    assert trivium.calibrate(run, goal="accuracy", console=quiet()) == first
    assert content(run) == kept


def test_a_model_folder_and_a_file_of_rows_are_enough(run: Path, tmp_path: Path) -> None:
    model = Path(shutil.copytree(run / "model", tmp_path / "model"))
    rows: list[list[object]] = [[t, "up" if n % 3 else "down"] for n, t in enumerate(TEXTS)]
    write_table(tmp_path / "rows.tsv", ["text", "mood"], rows)
    found = trivium.calibrate(model, task="mood", on=tmp_path / "rows.tsv", console=quiet())
    assert found["mood"]["rows"] == len(TEXTS)
    assert not (model / "calibration.json").exists()
    trivium.load(model)


@pytest.mark.parametrize(
    "read",
    [
        lambda run, file: trivium.calibrate(run, task="mood", on=file, console=quiet()),
        lambda run, file: trivium.evaluate(run, task="mood", file=file, console=quiet()),
    ],
    ids=["calibrate", "evaluate"],
)
def test_of_rows_that_a_file_named_beside_the_run_cannot_give_no_recipe_needs_mending(
    trained: Path, tmp_path: Path, read: Callable[[Path, Path], object]
) -> None:
    file = tmp_path / "rows.tsv"
    write_table(file, ["text", "mood"], [[TEXTS[0], "up"], [TEXTS[1], "sideways"]])
    with pytest.raises(RecipeError) as error:
        read(trained, file)
    first, last = str(error.value).splitlines()
    assert first.startswith(f"task 'mood': file: {file}:3: column 'mood' holds 'sideways'")
    assert last.startswith("Such settings are those of the recipe that the run was trained by")
    assert last.endswith(f"mend these rows of {file}, or leave them out of the file.")


def killed_at(is_the_moment: Callable[[Path], bool], work: Callable[[], Any]) -> int:
    """Work in a process of its own, killed when it puts a file on the disk; the signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the child has not
        child = os.fork()
    if child:
        return os.WTERMSIG(os.waitpid(child, 0)[1])
    try:
        real = atomic.sync

        def sync(path: Path) -> None:
            real(path)
            if is_the_moment(path):
                os.kill(os.getpid(), signal.SIGKILL)

        atomic.sync = sync
        work()
    finally:
        os._exit(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a POSIX system")
def test_killed_in_the_middle_of_its_write_the_folder_is_whole(run: Path, trained: Path) -> None:
    code = killed_at(
        lambda path: path.name.startswith(".trivium.json."),
        lambda: trivium.calibrate(run, task="mood", console=quiet()),
    )
    assert code == signal.SIGKILL
    leftovers = {name for name in content(run) if name not in content(trained)}
    assert any(".trivium.json." in name for name in leftovers)
    assert {n: was for n, was in content(run).items() if n not in leftovers} == content(trained)
    trivium.load(run)
    trivium.calibrate(run, task="mood", console=quiet())  # which sweeps what was left
    assert {n for n in content(run) if n not in content(trained)} == {"calibration.json"}


# --- refused -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"task": "near"}, "answers with a score, and has nothing to decide"),
        ({"task": "moood"}, "no task 'moood' in this model; did you mean 'mood'"),
        ({"goal": "f1", "costs": {}}, "--for and --costs: both say how to decide"),
        ({"label": "up"}, "--label: goes with --for precision"),
        ({"answer_where": 1.5}, "--answer-where 1.5: wants a share"),
        ({"answer_where": "0.9"}, "--answer-where 0.9: wants a share"),
        ({"task": "mood", "costs": 3}, "--costs: must be a table of costs.*found int"),
        ({"task": "mood", "on": object()}, "--on: must be the path of a file, found object"),
        ({"task": "mood", "shares_from": 3}, "--shares-from: must be the path of a file, found"),
        ({"task": ["mood"]}, "task: must be the name of one task"),
        ({"on": "other.tsv"}, "--on FILE: is about one task; name it by --task: mood, same"),
        ({"task": "mood", "on": "no.tsv"}, "--on no.tsv: no such file"),
        ({"task": "mood", "shares_from": "no.tsv"}, "no such file"),
        ({"task": "mood", "on": "."}, "--on .: is a folder"),
        ({"task": "mood", "on": "-"}, "--on -: is a stream"),
        ({"undo": True}, "is not calibrated"),
        ({"undo": True, "goal": "f1", "answer_where": 0.9}, "--for, --answer-where says what to"),
        ({"goal": "micro_f1"}, "is nothing that task 'mood'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    trained: Path, settings: dict[str, Any], message: str
) -> None:
    was = content(trained)
    with pytest.raises(RecipeError, match=message):
        trivium.calibrate(trained, **settings, console=quiet())
    assert content(trained) == was


def test_rows_that_the_run_was_trained_on_are_refused_even_as_a_copy(
    run: Path, tmp_path: Path
) -> None:
    data = Path(trivium.load_recipe(run / "recipe.yaml").data)
    copy = tmp_path / "copy.tsv"
    shutil.copyfile(data / "mood-train.tsv", copy)
    for path in (data / "mood-train.tsv", copy):
        with pytest.raises(RecipeError, match="the run was trained on it"):
            trivium.calibrate(run, task="mood", on=path, console=quiet())
    trivium.calibrate(run, task="mood", on=data / "mood-dev.tsv", console=quiet())


def test_a_file_with_rows_that_the_run_was_trained_on_is_refused_or_told_of(
    run: Path, tmp_path: Path
) -> None:
    data = Path(trivium.load_recipe(run / "recipe.yaml").data)
    head, *trained = (data / "mood-train.tsv").read_text().splitlines()
    other = (data / "mood-dev.tsv").read_text().splitlines()[1:]
    file, said = tmp_path / "rows.tsv", Console(file=StringIO(), width=300)
    file.write_text("\r\n".join([head, *trained[:20], *other[:19]]))
    with pytest.raises(RecipeError, match="the texts of 20 of its 39 rows are among those that"):
        trivium.calibrate(run, task="mood", on=file, console=quiet())
    file.write_text("\r\n".join([head, *trained[:2], *other]))
    trivium.calibrate(run, task="mood", on=file, console=said)
    assert isinstance(said.file, StringIO)
    told = " ".join(said.file.getvalue().split())
    assert f"the texts of 2 of its {2 + len(other)} rows are among those that the run was" in told


def test_a_share_of_right_answers_that_is_out_of_reach_is_refused(
    run: Path, tmp_path: Path
) -> None:
    said = trivium.load(run).predict("mood", TEXTS)
    other = {"up": "down", "down": "up"}
    rows: list[list[object]] = [[t, other[str(s)]] for t, s in zip(TEXTS, said, strict=True)]
    write_table(tmp_path / "wrong.tsv", ["text", "mood"], rows)
    where: dict[str, Any] = {"task": "mood", "on": tmp_path / "wrong.tsv", "goal": "none"}
    with pytest.raises(RecipeError, match=r"no level reaches 90%.*the surest are 0\.0% right"):
        trivium.calibrate(run, **where, answer_where=0.9, console=quiet())
    assert not (run / "calibration.json").exists()


def test_a_recipe_says_nothing_of_deciding(tiny: Path, tmp_path: Path) -> None:
    recipe = make_recipe(tiny, tmp_path)
    recipe["tasks"]["same"]["decide"] = {"temperature": 2}
    with pytest.raises(RecipeError, match="found after training, by `trivium calibrate`"):
        trivium.train(recipe, tmp_path / "run", console=quiet())


def test_the_command_prints_before_after_and_cross_fitted(run: Path) -> None:
    said = CliRunner().invoke(app, ["calibrate", str(run), "--task", "mood", "--for", "accuracy"])
    assert said.exit_code == 0, said.output
    for word in ("before", "after", "cross-fitted", "negative log-likelihood", "temperature"):
        assert word in said.stderr
    undone = CliRunner().invoke(app, ["calibrate", str(run), "--undo"])
    assert undone.exit_code == 0
    assert "as it was trained: mood" in undone.stderr
    refused = CliRunner().invoke(app, ["calibrate", str(run), "--for", "acuracy"])
    assert refused.exit_code == 2
    assert "did you mean 'accuracy'" in refused.stderr
