"""Where a calibrated run is read by what asks models, not by who answers people."""

import json
import shutil
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import save_file

import trivium
from tests.support.hub import OWNER, running, turn_to
from tests.support.tables import make_recipe, sentence, write_table
from trivium.answering.decide import Decide
from trivium.apps.batch.done import model_digest
from trivium.apps.report.explained import explained
from trivium.apps.report.runs import open_runs
from trivium.run.card.written import is_changed, write_card
from trivium.run.folder.decisions import seal_as_trained, write_decisions
from trivium.run.folder.finished import read_run
from trivium.run.folder.names import CARD
from trivium.run.folder.retrained import retrained
from trivium.run.predictor.trained import load_trained
from trivium.run.screen.progress import rows_bar

TEXTS = [sentence(11 * number) for number in range(40)]


def quiet() -> Console:
    return Console(file=StringIO(), width=200)


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("elsewhere")
    recipe = make_recipe(tiny, folder)
    trivium.train(recipe, folder / "run", changes=["stages.0.steps=20"], console=quiet())
    return folder / "run"


@pytest.fixture(scope="module")
def calibrated(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both tasks with labels; `mood` abstains."""
    run = Path(shutil.copytree(trained, tmp_path_factory.mktemp("calibrated") / "run"))
    trivium.calibrate(run, task="same", goal="accuracy", console=quiet())
    trivium.calibrate(run, task="mood", goal="accuracy", answer_where=0.55, console=quiet())
    return run


@pytest.fixture
def run(calibrated: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(calibrated, tmp_path / "run"))


def card_of(run: Path) -> str:
    return (run / "model" / CARD).read_text("utf-8")


def section(text: str) -> str:
    return text.partition("\n## Calibration\n")[2].partition("\n## ")[0]


# --- what asks models as they were trained -----------------------------------------------------


@pytest.mark.thorough
def test_a_teacher_says_what_it_said_before_it_was_calibrated(
    trained: Path, calibrated: Path
) -> None:
    """What a lesson is made of."""
    before, after = (load_trained(run).readout("mood", TEXTS) for run in (trained, calibrated))
    assert torch.equal(before, after)


def test_a_teacher_or_a_start_that_was_calibrated_since_is_the_one_it_was(
    run: Path, tmp_path: Path
) -> None:
    student = tmp_path / "student"
    (student / "teachers").mkdir(parents=True)
    asked = {"run": str(run), "sha256": seal_as_trained(run / "model")}
    header = {"trivium": json.dumps({"teachers": [asked]})}
    save_file({"readout": torch.zeros(1)}, student / "teachers" / "a.safetensors", header)
    assert retrained(student) == []
    trivium.calibrate(run, undo=True, console=quiet())
    assert retrained(student) == []
    facts = json.loads((run / "model" / "trivium.json").read_text())
    facts["files"]["model.safetensors"] = "0" * 64
    (run / "model" / "trivium.json").write_text(json.dumps(facts))
    assert retrained(student) == [str(run)]


@pytest.mark.thorough
def test_a_soup_of_calibrated_runs_is_that_of_the_runs_as_trained(
    trained: Path, calibrated: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "other")
    for name, runs in (("a", [trained, tmp_path / "other"]), ("b", [calibrated, trained])):
        trivium.soup(runs, tmp_path / name, console=quiet())
    one, two = (tmp_path / name / "model" for name in ("a", "b"))
    assert (one / "trivium.json").read_bytes() == (two / "trivium.json").read_bytes()
    assert trivium.load(two).task("mood").decide is None  # type: ignore[attr-defined]


def test_vectors_are_the_same_and_answers_to_tables_are_not_taken_for_older_ones(
    trained: Path, calibrated: Path
) -> None:
    one, two = trivium.load(trained), trivium.load(calibrated)
    assert (one.embed(TEXTS) == two.embed(TEXTS)).all()
    assert model_digest(trained) != model_digest(calibrated)


def test_a_report_explains_the_mistakes_that_were_made_in_training(
    trained: Path, run: Path
) -> None:
    """Not what is answered now, which may be nothing."""
    everything = Decide(temperature=9, weights={"down": 1e-9, "up": 1.0}, abstain=1.0)
    write_decisions(run / "model", {"mood": everything})
    found = []
    for each in (trained, run):
        with rows_bar(quiet()) as bar:
            of = explained(open_runs([each]), 2, bar)
        found.append([panel.values for panel in of.panels])
    assert found[0] == found[1]
    assert found[0]


def test_what_is_compared_is_what_training_left_and_that_is_said(
    trained: Path, calibrated: Path, tmp_path: Path
) -> None:
    shutil.copytree(trained, tmp_path / "other")
    recipe = tmp_path / "other" / "recipe.yaml"
    recipe.write_text(recipe.read_text().replace("steps: 20", "steps: 21"))  # another system
    found = []
    for run in (trained, calibrated):
        said = StringIO()
        verdict = trivium.compare(
            [run, tmp_path / "other"], time=False, resamples=200,
            console=Console(file=said, width=500),
        )  # fmt: skip
        found.append([one.sentence for one in verdict.comparisons])
        assert (f"note {run}: calibrated later" in said.getvalue()) == (run == calibrated)
    assert found[0] == found[1]


def test_a_study_whose_runs_were_calibrated_later_says_so_in_its_file_too(
    trained: Path, calibrated: Path, tmp_path: Path
) -> None:
    study = tmp_path / "study"
    for name, run in (("one", trained), ("two", calibrated)):
        shutil.copytree(run, study / name / "seed-0")
    rows = [{"name": name, "runs": [{"seed": 0}]} for name in ("one", "two")]
    (study / "table.json").write_text(json.dumps({"recipes": rows}))
    said, out = StringIO(), tmp_path / "verdict.md"
    trivium.compare(
        [study], out=out, time=False, resamples=200, console=Console(file=said, width=500)
    )
    note = f"{study / 'two' / 'seed-0'}: calibrated later; what is compared is what training left."
    assert f"note {note}" in said.getvalue()
    assert f"- {note}" in out.read_text()


# --- what takes part ---------------------------------------------------------------------------


def test_what_is_explained_is_the_answer_also_where_another_label_is_more_probable(
    run: Path,
) -> None:
    write_decisions(run / "model", {"mood": Decide(weights={"down": 1e-9, "up": 1.0})})
    model = trivium.load(run)
    told = model.probabilities("mood", TEXTS)
    row = next(place for place, each in enumerate(told) if each["down"] > 0.5)
    found = model.explain("mood", TEXTS[row])
    assert (found.answer, found.about) == ("up", "up")
    assert found.value == pytest.approx(told[row]["up"], abs=1e-6)
    assert model.explain("mood", TEXTS[row], "down").about == "down"


def test_the_rows_to_label_next_are_those_of_the_least_confidence(
    run: Path, tmp_path: Path
) -> None:
    write_decisions(run / "model", {"mood": Decide(weights={"down": 0.1, "up": 1.0})})
    write_table(tmp_path / "in.tsv", ["text"], [[text] for text in dict.fromkeys(TEXTS)])
    found = {}
    for most in (None, 5):
        out = tmp_path / f"{most}.jsonl"
        trivium.predict_file(
            run, "mood", tmp_path / "in.tsv", out, least_certain=most, console=quiet()
        )
        found[most] = [json.loads(line)["confidence"] for line in out.read_text().splitlines()]
    assert found[5] == sorted(found[None])[:5]


# --- the card ----------------------------------------------------------------------------------


def test_a_card_says_how_answers_are_decided_upon_found_on_what_and_what_that_changed(
    calibrated: Path,
) -> None:
    text, told = card_of(calibrated), section(card_of(calibrated))
    figures = json.loads((calibrated / "calibration.json").read_text())["tasks"]
    mood = figures["mood"]
    temperature = f"temperature {mood['decide'].get('temperature', 1):.4g}"
    assert f"- `mood`: found on 32 rows of dev, for `accuracy`: {temperature}" in told
    assert f"no answer below a confidence of {mood['decide']['abstain']:.4g}" in told
    assert f"({mood['crossfitted']['answered']:.1%} of the rows remain answered" in told
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in told.splitlines()
            if line.startswith("| ")]  # fmt: skip
    assert rows[0] == ["task", "", "before", "after", "cross-fitted"]
    sides = [mood[side]["scores"]["accuracy"] for side in ("before", "after", "crossfitted")]
    first = next(row for row in rows if "mood" in row[0])
    assert first == ["`mood`", "accuracy", *(f"{score:.4f}" for score in sides)]
    assert [row[1] for row in rows].count("rows answered") == 1
    assert "were not calibrated" not in text
    assert "for rows like those that it was found on" in text
    assert not is_changed(text)


def test_a_card_tells_which_tasks_were_not_calibrated(run: Path) -> None:
    trivium.calibrate(run, task="same", undo=True, console=quiet())
    assert "- `same`" not in section(card_of(run))
    assert "Probabilities of `same` are as training left them: they were not calib" in card_of(run)
    trivium.calibrate(run, undo=True, console=quiet())
    assert "## Calibration" not in card_of(run)
    assert "Its probabilities are as training left them" in card_of(run)


def test_a_card_of_another_s_file_of_rows_names_no_folder_and_no_marks(
    run: Path, tmp_path: Path
) -> None:
    rows: list[list[object]] = [[t, "up" if n % 3 else "down"] for n, t in enumerate(TEXTS)]
    write_table(tmp_path / "ro<b>ws.tsv", ["text", "mood"], rows)
    trivium.calibrate(run, task="mood", on=tmp_path / "ro<b>ws.tsv", console=quiet())
    assert str(tmp_path) not in card_of(run)
    assert "found on 40 rows of <code>ro&#60;b&#62;ws&#46;tsv</code>" in card_of(run)


def test_a_card_keeps_its_name_on_the_hub_and_one_of_a_person_is_left_alone(run: Path) -> None:
    assert write_card(read_run(run), "desk/support")
    trivium.calibrate(run, task="same", undo=True, console=quiet())
    assert 'trivium.load("desk/support")' in card_of(run)
    (run / "model" / CARD).write_text("# Mine\n")
    said = StringIO()
    trivium.calibrate(run, task="same", console=Console(file=said, width=500))
    assert card_of(run) == "# Mine\n"
    assert "README.md tells nothing of it: it was changed by hand" in said.getvalue()


def test_of_a_bare_model_s_card_it_is_said_that_it_tells_nothing_of_it(
    run: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(run / "model", tmp_path / "model"))
    was = (model / CARD).read_bytes()
    said = StringIO()
    trivium.calibrate(model, undo=True, console=Console(file=said, width=500))
    assert "only a whole run's tells what it would say" in said.getvalue()
    assert (model / CARD).read_bytes() == was


def test_a_run_whose_answers_are_gone_is_calibrated_and_told_that_its_card_is_not(
    run: Path,
) -> None:
    shutil.rmtree(run / "predictions")
    said = StringIO()
    trivium.calibrate(run, task="same", console=Console(file=said, width=500))
    assert "tells nothing of it: it cannot be renewed: " in said.getvalue()


@pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")
def test_a_pushed_model_carries_it_with_its_card(
    trained: Path, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_card(read_run(run))
    with running() as hub:
        turn_to(hub, tmp_path / "cache", monkeypatch)
        trivium.push(run, f"{OWNER}/moody")
        trivium.pull(f"{OWNER}/moody", out=tmp_path / "pulled")
        card = hub.files(f"{OWNER}/moody")["README.md"].decode()
    ours, theirs, bare = map(trivium.load, (run, tmp_path / "pulled", trained))
    assert ours.predict("mood", TEXTS) == theirs.predict("mood", TEXTS)
    assert ours.form("mood").says == theirs.form("mood").says != bare.form("mood").says
    assert section(card) == section(card_of(run)) != ""
