"""`/v1/embeddings` in OpenAI's form: the encoder's vector of each text."""

import base64
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from trivium.answering.reading import PLAIN
from trivium.answering.rows import Wanted
from trivium.answering.says import Floats
from trivium.answering.vectors import unit
from trivium.apps.serve.asks import Failed
from trivium.apps.serve.checks import check_keys, refuse, refuse_too_many, text_fault
from trivium.apps.serve.errors import Detail, Faults, Problem, found_text
from trivium.apps.serve.front import COMPUTES, Front, failure
from trivium.apps.serve.routes import answered

KEYS = ("input", "model", "encoding_format", "dimensions", "user")
FORMATS = ("float", "base64")


async def embeddings(request: Request) -> Response:
    """A vector of length 1 for each text: the mean over its tokens of the encoder that the tasks
    share. In OpenAI's form, so that its clients work."""
    front: Front = request.app.state.front
    if not front.described.embeds:
        message = "an ensemble has several encoders, and so no vector of a text."
        raise Problem(404, "no_embeddings", message)

    def check(value: Any) -> tuple[list[str], str]:
        body = check_keys(value, KEYS, ("input",))
        return _texts(body["input"], front.settings.max_rows), _format(body, front.settings.name)

    texts, form = await front.checked(request, check)
    wanted = Wanted()
    for number, text in enumerate(texts):
        wanted.add(PLAIN, number, (text,))
    found = await front.answers(request, wanted, len(texts))
    data = []
    for number, said in enumerate(found.said):
        if isinstance(said, Failed):  # OpenAI's form has no place for one text's error
            raise failure([Detail(f"input[{number}]", said.why, COMPUTES)])
        vector = _written(said[PLAIN], form)
        data.append({"object": "embedding", "index": number, "embedding": vector})
    usage = {"prompt_tokens": found.tokens, "total_tokens": found.tokens}
    told = {"object": "list", "data": data, "model": front.settings.name, "usage": usage}
    return answered(told)


def _texts(value: Any, most: int) -> list[str]:
    """One text, or a list of them. Raises Problem."""
    is_many = isinstance(value, list)
    texts = value if isinstance(value, list) else [value]
    if not texts:
        refuse("input", "an empty list", "a text, or a list with one at least")
    refuse_too_many(len(texts), most, "input")
    faults = Faults()
    for number, text in enumerate(texts):
        if (fault := text_fault(text)) is not None:
            faults.add(f"input[{number}]" if is_many else "input", *fault)
    faults.refuse()
    return texts


def _format(body: dict[str, Any], name: str) -> str:
    """How vectors are written. Raises Problem."""
    form, model = body.get("encoding_format"), body.get("model")
    form = "float" if form is None else form
    if form not in FORMATS:
        refuse("encoding_format", found_text(form), "float or base64")
    if model is not None and model != name:
        detail = Detail("model", found_text(model), repr(name), "leave it out")
        raise Problem(404, "unknown_model", f"no model {found_text(model)} here.", [detail])
    if body.get("dimensions") is not None:
        refuse("dimensions", found_text(body["dimensions"]), "nothing: vectors are not shortened")
    if not isinstance(body.get("user"), str | None):
        refuse("user", found_text(body["user"]), "a text")
    return str(form)


def _written(vector_D: Floats, form: str) -> list[float] | str:
    unit_D = unit(vector_D).astype("<f4")
    if form == "base64":
        return base64.b64encode(unit_D.tobytes()).decode("ascii")
    numbers: list[float] = unit_D.tolist()
    return numbers
