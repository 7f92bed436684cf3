"""Models to the hub and back, by a stand-in for it that is asked over HTTP."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import constants

import trivium
from tests.support.exports import LABELS, TEXT, untrained
from tests.support.hub import (
    OWNER,
    READER,
    TOKEN,
    Hub,
    environment_of,
    go_offline,
    running,
    turn_to,
)
from tests.support.processes import loaded_after
from tests.support.shell import call, spoken
from tests.support.tables import make_recipe
from trivium.errors import RecipeError
from trivium.run.hub.fetch import is_hub_name, local_folder

NAME = f"{OWNER}/support"
TEXTS = ["good day", "awful fish runs", "not very red"]

# The library's own, on the way that files took before Xet.
pytestmark = pytest.mark.filterwarnings("ignore:Use .content:DeprecationWarning")


@pytest.fixture(scope="module")
def trained(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hub")
    trivium.train(make_recipe(tiny, folder), folder / "run")
    return folder / "run"


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with running() as hub:
        turn_to(hub, tmp_path / "cache", monkeypatch)
        monkeypatch.chdir(tmp_path)
        yield hub


def refused(run: Path | str, name: str = NAME, **settings: object) -> str:
    with pytest.raises(RecipeError) as caught:
        trivium.push(run, name, **settings)  # type: ignore[arg-type]
    return str(caught.value)


def not_loaded(name: str, revision: str | None = None) -> str:
    with pytest.raises(RecipeError) as caught:
        trivium.load(name, revision=revision)
    return str(caught.value)


# --- there and back ----------------------------------------------------------------------------


def test_a_model_that_was_pushed_answers_elsewhere_as_it_did_here(
    run: Path, hub: Hub, tmp_path: Path
) -> None:
    pushed = trivium.push(run, NAME)
    assert pushed.url == f"{hub.url}/{NAME}/commit/{pushed.commit}"
    pulled = trivium.pull(NAME, out="mine")
    assert (pulled.commit, pulled.folder) == (pushed.commit, tmp_path / "mine")
    here = trivium.load(run).probabilities("mood", TEXTS)
    for model in (trivium.load("mine"), trivium.load(NAME)):
        assert model.probabilities("mood", TEXTS) == here
    assert (tmp_path / "mine" / "README.md").read_bytes() == hub.files(NAME)["README.md"]
    assert f'trivium.load("{NAME}")' in (tmp_path / "mine" / "README.md").read_text()


def test_a_model_goes_there_without_rows_answers_and_folders_of_the_machine(
    run: Path, hub: Hub, trained: Path, tiny: Path
) -> None:
    (run / "model" / "my-notes.txt").write_text("mine alone")
    trivium.push(run, NAME)
    files = hub.files(NAME)
    sealed = json.loads((run / "model" / "trivium.json").read_text())["files"]
    assert set(files) == {*sealed, "trivium.json", "README.md"}
    secrets = [str(trained.parent), str(run.parent), str(tiny), "very good cat", "/tmp/"]
    assert not [s for s in secrets for content in files.values() if s.encode() in content]
    assert len(hub.repositories[NAME].messages) == 2  # one commit after the hub's own


def test_a_branch_is_made_and_named_by_its_commits_hash(run: Path, hub: Hub) -> None:
    first = trivium.push(run, NAME)
    (run / "model" / "README.md").write_text("---\ntags: [mine]\n---\n# Mine\n")
    second = trivium.push(run, NAME, revision="next", message="A second try")
    assert hub.repositories[NAME].messages[-1] == "A second try"
    assert hub.files(NAME, "next")["README.md"] != hub.files(NAME)["README.md"]
    assert trivium.pull(NAME).commit == first.commit
    assert trivium.pull(NAME, revision="next").commit == second.commit
    assert trivium.pull(NAME, revision=first.commit).commit == first.commit
    trivium.load(NAME, revision="next")
    assert "has no revision 'last'" in not_loaded(NAME, "last")


def test_a_commit_by_its_hash_is_asked_for_once(run: Path, hub: Hub) -> None:
    commit = trivium.push(run, NAME).commit
    trivium.load(NAME, revision=commit)
    hub.requests.clear()
    trivium.load(NAME, revision=commit)
    assert hub.requests == []


def test_only_a_models_own_files_are_fetched(run: Path, hub: Hub) -> None:
    trivium.push(run, NAME)
    hub.change(NAME, train__csv=b"text,label\n")
    folder = trivium.pull(NAME).folder
    assert not (folder / "train.csv").exists()
    assert not [line for line in hub.requests if "train.csv" in line]


def test_a_file_that_was_altered_there_is_refused(run: Path, hub: Hub, tmp_path: Path) -> None:
    trivium.push(run, NAME)
    altered = bytearray(hub.files(NAME)["heads.safetensors"])
    altered[-1] ^= 1
    commit = hub.change(NAME, heads__safetensors=bytes(altered))
    with pytest.raises(RecipeError, match=r"heads\.safetensors: was altered") as caught:
        trivium.pull(NAME, out="mine")
    assert commit in str(caught.value)
    assert not (tmp_path / "mine").exists()
    assert "heads.safetensors: was altered after it was written (sha256" in not_loaded(NAME)


def test_what_was_fetched_answers_while_the_hub_is_away(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = trivium.push(run, NAME).commit
    assert not trivium.pull(NAME).is_from_cache
    hub.broken = 503
    pulled = trivium.pull(NAME)
    assert (pulled.is_from_cache, pulled.commit) == (True, commit)
    hub.broken = 0
    go_offline(monkeypatch)
    assert trivium.pull(NAME).is_from_cache
    trivium.load(NAME)
    (pulled.folder / "vocab.txt").unlink()
    assert "HF_HUB_OFFLINE is set" in not_loaded(NAME)


def test_a_model_folder_may_be_pushed_by_itself(run: Path, hub: Hub, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(run / "model", tmp_path / "bare"))
    (bare / "README.md").unlink()
    console, said = spoken()
    trivium.push(bare, NAME, console=console)
    assert "there is no card" in said.getvalue()
    assert "README.md" not in hub.files(NAME)
    trivium.push(run / "model", NAME)  # whose run is known
    assert f'trivium.load("{NAME}")' in hub.files(NAME)["README.md"].decode()


# --- cards on both sides -----------------------------------------------------------------------


@pytest.mark.thorough
@pytest.mark.whole_run
def test_an_exported_graph_goes_there_by_the_same_command_and_answers_elsewhere(
    run: Path, hub: Hub, tmp_path: Path
) -> None:
    pytest.importorskip("onnxscript")
    wanted = trivium.load(run, precision="fp32").predict("mood", ["good cat", "bad dog"])
    done, said = call("export", run, "--out", tmp_path / "graph", "--push", NAME)
    assert done == 0, said
    assert "pushed: http" in said
    elsewhere = trivium.load(NAME, revision="main")
    assert elsewhere.predict("mood", ["good cat", "bad dog"]) == wanted


def test_an_export_for_another_library_comes_back_with_what_its_folders_say(
    tiny: Path, hub: Hub, tmp_path: Path
) -> None:
    tasks = {name: {**TEXT, **LABELS} for name in ("first", "second")}
    folder = tmp_path / "export"
    model = untrained(tmp_path / "drawn", tiny, tasks)
    trivium.export(model, folder, to="sentence-transformers", console=spoken()[0])
    trivium.push(folder, NAME)
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert {"first/README.md", "second/README.md"} < there == set(hub.files(NAME))
    mine = tmp_path / "mine"
    for overwrite in (False, True):
        trivium.pull(NAME, out=mine, overwrite=overwrite)
        for name in there:
            assert (mine / name).read_bytes() == (folder / name).read_bytes()
    (mine / "notes.txt").write_text("mine alone")
    with pytest.raises(RecipeError, match=r"holds 'notes\.txt', which is no part of the model"):
        trivium.pull(NAME, out=mine, overwrite=True)


def test_a_card_changed_here_goes_as_it_is(run: Path, hub: Hub) -> None:
    (run / "model" / "README.md").write_text("# Mine\n")
    console, said = spoken()
    trivium.push(run, NAME, console=console)
    assert hub.files(NAME)["README.md"] == b"# Mine\n"
    assert "was changed by hand: it goes as it is" in said.getvalue()


def test_a_card_changed_on_the_hub_is_left_there_until_told(run: Path, hub: Hub) -> None:
    trivium.push(run, NAME)
    hub.change(NAME, README__md=b"# Changed there\n")
    console, said = spoken()
    trivium.push(run, NAME, console=console)
    assert hub.files(NAME)["README.md"] == b"# Changed there\n"
    assert "the card on the hub was changed there" in said.getvalue()
    trivium.push(run, NAME, overwrite=True)
    assert hub.files(NAME)["README.md"] == (run / "model" / "README.md").read_bytes()


def test_a_card_that_the_hub_does_not_take_is_told_before_anything_is_there(
    run: Path, hub: Hub
) -> None:
    (run / "model" / "README.md").write_text("---\ntags: not a list\n---\n")
    assert "did not take it: Invalid metadata in README.md" in refused(run)
    assert hub.files(NAME) == {}


# --- refusals ----------------------------------------------------------------------------------


def test_a_wrong_token_no_token_and_one_that_may_not_write_are_told_apart(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "does not know your token (401). Log in" in refused(run)
    monkeypatch.delenv("HF_TOKEN")
    assert "wants a token (401). Log in (`hf auth login`), or set HF_TOKEN" in refused(run)
    monkeypatch.setenv("HF_TOKEN", READER)
    said = refused(run)
    assert "does not let your token do this (403: " in said
    assert "You don't have the rights" in said
    assert "403" in refused(run, "other/support")
    assert hub.repositories == {}


def test_a_private_model_is_for_its_owner(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    trivium.push(run, NAME, private=True)
    assert hub.repositories[NAME].private
    trivium.load(NAME)
    shutil.rmtree(run.parent / "cache")
    monkeypatch.setenv("HF_TOKEN", READER)
    said = not_loaded(NAME)
    assert "no such folder here" in said
    assert "no model of that name, or it is private and your token may not read it" in said
    monkeypatch.delenv("HF_TOKEN")
    assert "For a private one: Log in" in not_loaded(NAME)


def test_what_is_public_is_not_pushed_to_as_if_it_were_private(run: Path, hub: Hub) -> None:
    trivium.push(run, NAME)
    commits = len(hub.repositories[NAME].messages)
    assert "is on the hub already, and public" in refused(run, private=True)
    assert len(hub.repositories[NAME].messages) == commits


def test_a_hub_that_is_gone_or_out_of_order_is_told(
    run: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.broken = 503
    assert "is out of order (503)" in refused(run)
    assert "is out of order (503)" in not_loaded(NAME)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # where nobody listens
    assert "could not be reached at http://127.0.0.1:9 (" in refused(run)
    assert "no such folder here, and the hub could not be reached" in not_loaded(NAME)
    go_offline(monkeypatch)
    assert "HF_HUB_OFFLINE is set" in refused(run)
    assert "HF_HUB_OFFLINE is set" in not_loaded(NAME)


@pytest.mark.parametrize("name", ["support", "a/b/c", "", "desk/", "/desk", "desk/a b", "../x"])
def test_a_name_that_is_none_is_refused_before_the_hub_is_asked(
    name: str, run: Path, hub: Hub
) -> None:
    assert "is no name of a model on the hub, which is user/name" in refused(run, name)
    with pytest.raises(RecipeError, match="is no name of a model on the hub"):
        trivium.pull(name)
    assert hub.requests == []


def test_a_name_that_only_the_hub_refuses_is_told(run: Path, hub: Hub) -> None:
    assert "is no name that the hub allows" in refused(run, "desk/a--b")


def test_an_ensemble_is_refused_by_what_it_is(
    run: Path, trained: Path, hub: Hub, tmp_path: Path
) -> None:
    trivium.ensemble([run, trained], tmp_path / "both")
    assert "is an ensemble of several models" in refused(tmp_path / "both")
    assert hub.requests == []


def test_a_model_that_is_not_whole_and_a_run_that_is_not_finished_stay_here(
    run: Path, hub: Hub
) -> None:
    (run / "scores.json").rename(run / "kept")
    assert "this run is not finished" in refused(run)
    (run / "kept").rename(run / "scores.json")
    (run / "model" / "vocab.txt").write_text("altered")
    assert "vocab.txt: was altered after it was written" in refused(run)
    assert hub.requests == []


def test_what_is_no_model_of_ours_is_not_fetched(run: Path, hub: Hub) -> None:
    trivium.push(run, NAME)
    hub.repositories["other/bert"] = other = hub.repositories[NAME]
    files = other.commits[other.branches["main"]]
    del files["trivium.json"]
    assert "holds no trivium.json: it is no model of Trivium" in not_loaded("other/bert")
    assert not [line for line in hub.requests if "other/bert" in line and "model.safetens" in line]


def test_a_folder_that_holds_something_else_is_not_pulled_into(
    run: Path, hub: Hub, tmp_path: Path
) -> None:
    trivium.push(run, NAME)
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years")
    with pytest.raises(RecipeError, match="is not empty and holds no model"):
        trivium.pull(NAME, out=mine, overwrite=True)
    trivium.pull(NAME, out=tmp_path / "model")
    with pytest.raises(RecipeError, match=r"earlier model. Replace it \(--overwrite\)"):
        trivium.pull(NAME, out=tmp_path / "model")
    (tmp_path / "model" / "thesis.txt").write_text("years")
    with pytest.raises(RecipeError, match=r"holds 'thesis.txt', which is no part of the model"):
        trivium.pull(NAME, out=tmp_path / "model", overwrite=True)
    (tmp_path / "model" / "thesis.txt").unlink()
    trivium.pull(NAME, out=tmp_path / "model", overwrite=True)


# --- a folder here, or a name there? -----------------------------------------------------------


def test_a_folder_here_always_wins(run: Path, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / OWNER).mkdir()
    shutil.copytree(run, tmp_path / NAME)
    assert local_folder(NAME) == Path(NAME)
    trivium.load(NAME)
    assert hub.requests == []
    assert "is a folder here, which has no revisions" in not_loaded(NAME, "main")


def test_a_misspelt_folder_is_not_asked_of_strangers(run: Path, hub: Hub, tmp_path: Path) -> None:
    (tmp_path / OWNER).mkdir()
    for name in (NAME, "runs/frist"):
        said = not_loaded(name)
        assert f"{name}: no such folder. Name a run's folder" in said
        assert f"trivium pull {name}, or a revision" in said
    assert hub.requests == []
    trivium.push(run, NAME)
    trivium.load(NAME, revision="main")  # which no folder has


def test_what_is_neither_is_told_as_a_folder_that_is_not_there(hub: Hub) -> None:
    assert "nowhere: no such folder. Name a run's folder" in not_loaded("nowhere")
    assert "no name of a model on the hub" in not_loaded("nowhere", "main")
    assert "has no model of that name" in not_loaded(f"{OWNER}/nothing")
    names = [NAME, "a/b.c-d_e", "./a/b", "a", "~/a", "a/.b", ".a/b"]
    assert [name for name in names if is_hub_name(name)] == names[:2]


def test_a_folder_is_known_without_the_hubs_library() -> None:
    assert loaded_after("from trivium.run.hub.fetch import local_folder; local_folder('.')") == []


# --- at the shell ------------------------------------------------------------------------------


def test_the_commands_say_where_and_which_commit(run: Path, hub: Hub, tmp_path: Path) -> None:
    code, said = call("push", run, NAME, "--private", "--message", "First")
    commit = hub.repositories[NAME].branches["main"]
    assert code == 0
    assert f"pushed: {hub.url}/{NAME}/commit/{commit} commit: {commit}" in said
    code, said = call("pull", NAME, "--out", "mine")
    assert code == 0
    assert f"model: {tmp_path / 'mine'} commit: {commit} sha256: " in said
    (tmp_path / "in.tsv").write_text("text\ngood day\n")
    for model, out in ((NAME, "there.tsv"), ("mine", "here.tsv")):
        arguments = ("--task", "mood", "--file", "in.tsv", "--out", out)
        assert call("predict", model, *arguments)[0] == 0
    assert (tmp_path / "there.tsv").read_text() == (tmp_path / "here.tsv").read_text()
    code, said = call("evaluate", NAME)
    assert (code, "name --task and --file" in said) == (2, True)
    file = run.parents[0] / "dev.tsv"
    file.write_text("text\tmood\ngood day\tup\n")
    assert call("evaluate", NAME, "--task", "mood", "--file", file)[0] == 0
    code, said = call("push", run, "other/one")
    assert (code, "error other/one: " in said) == (2, True)


@pytest.mark.thorough
@pytest.mark.whole_run
def test_processes_of_their_own_find_the_hub_by_the_environment(run: Path, tmp_path: Path) -> None:
    with running() as hub:
        place = os.environ | environment_of(hub, tmp_path / "home")

        def trivium_says(*arguments: str | Path) -> str:
            command = [sys.executable, "-m", "trivium", *map(str, arguments)]
            done = subprocess.run(command, capture_output=True, text=True, env=place, cwd=tmp_path)
            assert done.returncode == 0, done.stderr
            return done.stdout + done.stderr

        trivium_says("push", run, NAME)
        commit = hub.repositories[NAME].branches["main"]
        assert commit in trivium_says("pull", NAME)
        (tmp_path / "in.tsv").write_text("text\ngood day\n")
        place["HF_HUB_OFFLINE"] = "1"
        said = trivium_says("predict", NAME, "--task", "mood", "--file", "in.tsv")
        assert "good day\t" in said
        assert hub.blobs  # the weights came as large files do
        assert TOKEN not in said
