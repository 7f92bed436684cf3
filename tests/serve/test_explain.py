"""`/v1/explain` says what `model.explain` says, of all tasks in one question, within limits."""

import json
import threading

import pytest

import trivium
from tests.support.serving import client_of
from trivium.answering.rows import Wanted
from trivium.apps.serve.explaining import Occluded
from trivium.apps.serve.settings import Settings

ROW = {"text": "good cat, very good.", "first": "red day", "second": "blue 🙂 night"}
WORDS = {"text": 6, "first": 2, "second": 3}


async def test_words_have_the_effects_that_the_model_itself_finds(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        body = (await client.ask("/v1/explain", {"rows": ROW})).json()
    (answers,) = body["answers"]
    assert set(answers) == set(model.forms)
    for task, told in answers.items():
        columns = model.forms[task].text
        texts = tuple(ROW[column] for column in columns)
        wanted = model.explain(task, texts if len(texts) > 1 else texts[0])
        assert told["about"] == wanted.about
        assert told["value"] == pytest.approx(wanted.value, abs=1e-5)
        for word, other in zip(told["words"], wanted.words, strict=True):
            place = (columns[other.place.text], other.place.start, other.place.end)
            assert (word["column"], word["start"], word["end"]) == place
            assert word["word"] == other.word == ROW[place[0]][place[1] : place[2]]
            assert word["effect"] == pytest.approx(other.effect, abs=1e-5)


async def test_every_word_is_a_row_that_its_tasks_share(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        await client.ask("/v1/explain", {"rows": [ROW]})
        await client.ask("/v1/explain", {"rows": ROW, "tasks": ["mood"]})
        asked = [None, ["mood"], ["same", "near"]]
        answers = [await client.ask("/v1/explain", {"rows": ROW, "tasks": t}) for t in asked]
    assert list(client.service.calls)[:2] == [1 + sum(WORDS.values()), 1 + WORDS["text"]]
    whole, *parts = (answer.json()["tokens"] for answer in answers)
    assert whole == sum(parts)  # no task is asked again without a word that it does not read


async def test_a_text_without_words_has_an_answer(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        told = (await client.ask("/v1/explain", {"rows": {"text": " "}})).json()
    assert told["answers"][0]["mood"]["words"] == []


async def test_a_text_of_more_words_than_rows_are_allowed_is_refused(
    model: trivium.Predictor,
) -> None:
    settings = Settings(name="tiny", max_rows=8)
    async with client_of(model, settings) as client:
        most = await client.ask("/v1/explain", {"rows": {"text": "cat " * 7}})
        more = await client.ask("/v1/explain", {"rows": {"text": "cat " * 8}})
    assert (most.status_code, more.status_code) == (200, 413)
    error = more.json()["error"]
    assert error["code"] == "too_many_words"
    assert error["message"].startswith("rows[0]: found 8 words; allowed are up to 7")


async def test_what_the_queue_has_no_room_for_is_refused_as_rows_are(
    model: trivium.Predictor,
) -> None:
    async with client_of(model, most_rows=4) as client:
        answer = await client.ask("/v1/explain", {"rows": {"text": "cat " * 4}})
    async with client_of(model, most_tokens=10) as client:
        other = await client.ask("/v1/explain", {"rows": {"text": "cat " * 4}})
    for each in (answer, other):
        error = each.json()["error"]
        assert (each.status_code, error["code"]) == (413, "too_large")
        assert error["details"][0]["hint"] == "send a part of the text"


async def test_copies_of_a_long_text_are_counted_before_they_are_made(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A word is a copy of its text: few bytes, whose copies would be a hundred times the queue."""
    monkeypatch.setattr(Occluded, "wanted", lambda _: pytest.fail("they were made"))
    long = " ".join(["x" * 400] * 200)
    async with client_of(model, most_tokens=4096) as client:
        answer = await client.ask("/v1/explain", {"rows": {"text": long}})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (413, "too_many_words")
    assert (
        f"200 words, for each a copy of its text: {200 * len(long):,} characters"
        in (error["message"])
    )
    assert error["details"][0]["hint"] == "send a part of the text"


@pytest.mark.parametrize(("words", "aside"), [(6, False), (300, True)])
async def test_a_small_body_that_is_much_work_keeps_nobody_waiting(
    model: trivium.Predictor, monkeypatch: pytest.MonkeyPatch, words: int, aside: bool
) -> None:
    threads: list[bool] = []
    wanted = Occluded.wanted

    def told(self: Occluded) -> Wanted:
        threads.append(threading.current_thread() is not threading.main_thread())
        return wanted(self)

    monkeypatch.setattr(Occluded, "wanted", told)
    async with client_of(model) as client:
        answer = await client.ask("/v1/explain", {"rows": {"text": "cat " * words}})
    assert answer.status_code == 200
    assert threads == [aside]


async def test_of_a_row_that_is_explained_the_log_has_the_row_and_no_copy(
    model: trivium.Predictor,
) -> None:
    async with client_of(model, Settings(name="tiny", log_texts=True)) as client:
        await client.ask("/v1/explain", {"rows": {"text": "good cat runs"}})
        lines = [json.loads(each) for each in client.said.getvalue().splitlines()]
    (line,) = [each for each in lines if each["event"] == "request"]
    assert line["texts"] == {"mood": [["good cat runs"]]}


async def test_one_row_is_explained_at_a_time(model: trivium.Predictor) -> None:
    async with client_of(model) as client:
        two = await client.ask("/v1/explain", {"rows": [{"text": "cat"}] * 2})
        none = await client.ask("/v1/explain", {"rows": []})
        odd = await client.ask("/v1/explain", {"rows": {"text": "cat"}, "top_k": 2})
    assert [each.status_code for each in (two, none, odd)] == [422] * 3
    assert "found 2 rows; allowed is one row" in two.json()["error"]["message"]


async def test_a_word_that_cannot_be_left_out_has_no_effect_and_spoils_no_other(
    model: trivium.Predictor,
) -> None:
    async with client_of(model) as client:
        ((line,),) = (asked.lines for asked in model.readers[0].asked({"mood": [("cat",)]}))
        client.service.poison = line.ids[1]
        told = (await client.ask("/v1/explain", {"rows": {"text": "ca,t"}})).json()
        whole = await client.ask("/v1/explain", {"rows": {"text": "cat"}})
    words = [(word["word"], word["effect"]) for word in told["answers"][0]["mood"]["words"]]
    assert words[1] == (",", None)  # without it there is a cat
    assert None not in (words[0][1], words[2][1])
    assert (whole.status_code, whole.json()["error"]["code"]) == (500, "row_failed")
