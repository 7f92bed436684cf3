"""Runs are handed over by an S3 server as by a folder. Skipped where none can be started."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.s3 import Server, s3_with
from trivium.errors import RecipeError
from trivium.run.cluster.remote import RemoteError
from trivium.run.cluster.store import Store

pytestmark = pytest.mark.xdist_group("s3")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_with("bucket") as found:
        yield found


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "model").mkdir(parents=True)
    (folder / "model" / "weights").write_bytes(os.urandom(300_000))
    (folder / "journal.jsonl").write_text("one\n")
    (folder / "empty").touch()
    return folder


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def test_what_was_handed_over_last_to_s3_is_what_is_fetched(
    server: Server, run: Path, tmp_path: Path
) -> None:
    store = Store("s3://bucket/study")
    store.refuse_unwritable()
    assert not store.get("base/seed-0", tmp_path / "nothing")
    store.put("base/seed-0", run, is_finished=False)
    (run / "journal.jsonl").write_text("one\ntwo\n")
    store.put("base/seed-0", run, is_finished=True)
    assert store.get("base/seed-0", tmp_path / "fetched")
    assert content(tmp_path / "fetched") == content(run)
    store.files.invalidate_cache()
    there = sorted(Path(path).name for path in store.files.ls("bucket/study/base/seed-0"))
    told = json.loads(store.files.cat_file("bucket/study/base/seed-0/latest.json"))
    assert there == sorted([told["folder"], "latest.json"])  # the earlier one is gone
    store.add_log("base/seed-0", "one\n")
    store.add_log("base/seed-0", "two\n")
    assert store.log("base/seed-0") == "one\ntwo\n"


def test_a_misspelt_bucket_is_refused_and_not_made(server: Server, run: Path) -> None:
    store = Store("s3://buckte/study")
    with pytest.raises(RecipeError, match="cannot be written to: The specified bucket does not"):
        store.refuse_unwritable()
    with pytest.raises(RemoteError, match="s3://buckte/study/base/seed-0: The specified bucket"):
        store.put("base/seed-0", run, is_finished=True)
    assert store.files.ls("") == ["bucket"]


def test_a_store_that_knows_nobody_here_is_refused_in_words(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    store = Store("s3://bucket/other")
    store.files = type(store.files)(skip_instance_cache=True)
    with pytest.raises(RecipeError, match="cannot be written to: Unable to locate credentials"):
        store.refuse_unwritable()
