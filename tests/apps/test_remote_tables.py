"""Tables behind URLs have the answers that they have here, to the byte; and go on as those do.

On the disk, by a URL, everywhere; on an S3 server, in a process of its own, where there is one.
"""

from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
import yaml

import trivium
from tests.support.s3 import s3_with
from tests.support.shell import call
from tests.support.tables import make_recipe, sentence, write_table
from trivium.apps.batch import done, predict
from trivium.apps.batch.files import are_many, parts_of
from trivium.errors import RecipeError

pytestmark = pytest.mark.xdist_group("s3")
TABLES = 3


@pytest.fixture(scope="module")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    values = make_recipe(tiny, folder) | {"probe": False}
    values["stages"] = [{"steps": 2, "batch_size": 8, "lr": 1e-3}]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(values))
    trivium.train(folder / "recipe.yaml", folder / "run")
    return folder / "run"


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("in")
    for number in range(TABLES):
        rows: list[list[object]] = [[i, sentence(11 * number + i)] for i in range(4)]
        write_table(folder / f"{number}.tsv", ["id", "text"], rows)
    return folder


@pytest.fixture(scope="module", params=["file", "s3"])
def bucket(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    if request.param == "file":
        yield tmp_path_factory.mktemp("bucket").as_uri()
        return
    with s3_with("bucket"):
        yield "s3://bucket"


@pytest.fixture
def home(bucket: str, tables: Path, request: pytest.FixtureRequest) -> str:
    """A place of the test's own, with the tables in `in`."""
    home = f"{bucket}/{request.node.originalname}"
    for path in tables.iterdir():
        write(f"{home}/in/{path.name}", path.read_bytes())
    write(f"{home}/in/notes.md", b"no table")
    write(f"{home}/in/.hidden.tsv", b"nor this one")
    return home


def write(url: str, content: bytes) -> None:
    files, path = fsspec.core.url_to_fs(url)
    if "file" in files.protocol:
        files.makedirs(path.rpartition("/")[0], exist_ok=True)
    files.pipe_file(path, content)


def content(url: str) -> dict[str, bytes]:
    """All files below a URL or a folder, by their names in it."""
    files, root = fsspec.core.url_to_fs(url)
    files.invalidate_cache()
    return {path.removeprefix(root): files.cat_file(path) for path in files.find(root)}


def test_tables_behind_urls_are_answered_as_those_that_are_here_and_once(
    run: Path, tables: Path, home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trivium.predict_files(run, "mood", tables, tmp_path / "here", probabilities=True)

    def asked(sources: str | Path, out: str | Path) -> dict[str, int]:
        return trivium.predict_files(run, "mood", sources, out, probabilities=True)

    whole = {"files": TABLES, "rows": 4 * TABLES, "skipped": 0}
    assert asked(f"{home}/in/*.tsv", f"{home}/out") == whole
    assert content(f"{home}/out") == content(str(tmp_path / "here"))  # with what tells of them
    assert asked(f"{home}/in", tmp_path / "fetched") == whole
    assert content(str(tmp_path / "fetched")) == content(str(tmp_path / "here"))
    monkeypatch.delattr(predict, "load")
    assert asked(tables, f"{home}/out") == {"files": 0, "rows": 0, "skipped": TABLES}
    assert asked(f"{home}/in/", f"{home}/out")["skipped"] == TABLES


@pytest.mark.thorough
def test_a_try_that_was_killed_at_any_point_goes_on(
    run: Path, home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("end", "begin"):
        with monkeypatch.context() as patch:
            patch.setattr(done.Ledger, name, dies)
            with pytest.raises(KeyboardInterrupt):
                trivium.predict_files(run, "mood", f"{home}/in/*.tsv", f"{home}/out")
    assert list(content(f"{home}/out")) == ["/.done/0.tsv.json", "/0.tsv"]
    found = trivium.predict_files(run, "mood", f"{home}/in/*.tsv", f"{home}/out")
    assert found == {"files": TABLES, "rows": 4 * TABLES, "skipped": 0}


def test_what_is_wrong_is_named_by_its_url_and_costs_its_own_table_only(
    run: Path, home: str
) -> None:
    write(f"{home}/in/1.tsv", b"id\ttext\n9\tgood cat\ttoo much\n")
    write(f"{home}/out/2.tsv", b"mine\n")
    code, said = call("predict", run, "--all", "--file", f"{home}/in/*.tsv", "--out", f"{home}/out")
    assert code == 2
    assert "2 of 3 files have no answers" in said
    assert f"{home}/in/1.tsv:2: " in said
    assert f"{home}/out/2.tsv: is there already" in said
    found = content(f"{home}/out")
    assert [name for name in found if ".done" not in name] == ["/0.tsv", "/2.tsv"]
    assert found["/2.tsv"] == b"mine\n"
    assert "/.done/1.tsv.json" not in found


def test_urls_say_which_tables_are_meant(home: str, tmp_path: Path) -> None:
    write(f"{home}/in/deep/er/x.jsonl", b"{}\n")

    def names(source: str, out: str | Path = tmp_path) -> list[str]:
        return [part.name for part in parts_of([source], out)]

    assert names(f"{home}/in") == names(f"{home}/in/") == ["0.tsv", "1.tsv", "2.tsv"]
    assert names(f"{home}/in/[01].tsv") == ["0.tsv", "1.tsv"]
    assert names(f"{home}/**/*.jsonl") == ["in/deep/er/x.jsonl"]
    assert names(f"{home}/in/2.tsv") == ["2.tsv"]
    assert names(f"{home}/**/[0x].*", f"{home}/in/deep") == ["in/0.tsv", "in/deep/er/x.jsonl"]
    write(f"{home}/in/deep/.done/er/x.jsonl.json", b"{}\n")
    assert names(f"{home}/**/[0x].*", f"{home}/in/deep") == ["in/0.tsv"]  # earlier answers are not
    with pytest.raises(RecipeError, match="its answers would take its place"):
        names(f"{home}/in", f"{home}/in")
    with pytest.raises(RecipeError, match="no such table"):
        names(f"{home}/nowhere/*.tsv")
    with pytest.raises(RecipeError, match=r"in/notes\.md: the ending"):
        names(f"{home}/in/*.md")


def test_answers_of_urls_are_no_single_file() -> None:
    assert are_many(["s3://bucket/one.tsv"])
    with pytest.raises(RecipeError, match=r"answers\.csv: is named as a file"):
        parts_of(["s3://bucket/one.tsv"], Path("answers.csv"))


@pytest.mark.parametrize(
    "words",
    [
        ("study", "RECIPE", "--out"),
        ("train", "RECIPE", "--out"),
        ("predict", "RUN", "--all", "--file", "TABLE", "--out"),
    ],
)
def test_a_url_is_no_folder_of_this_machine(
    run: Path, tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    named = {"RECIPE": run / "recipe.yaml", "RUN": run, "TABLE": tables / "0.tsv"}
    code, said = call(*(named.get(word, word) for word in words), "s3://bucket/out")
    assert code == 2
    assert "is a URL, where a folder or file is asked for" in said
    assert list(tmp_path.iterdir()) == []
