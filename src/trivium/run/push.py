"""`trivium push`: a trained model put on the hub, with its card."""

from pathlib import Path

from rich.console import Console

from trivium.errors import RecipeError
from trivium.run.card.written import is_changed, write_card
from trivium.run.folder.finished import read_run
from trivium.run.folder.model import find_model
from trivium.run.folder.names import CARD, MANIFEST, MODEL, RECIPE
from trivium.run.folder.sealed import own_files, unseal
from trivium.run.hub.download import MAIN
from trivium.run.hub.fetch import is_hub_name
from trivium.run.hub.upload import Place, Pushed, upload
from trivium.run.screen.console import heard_on, say


def push(
    run: str | Path,
    name: str,
    *,
    private: bool = False,
    revision: str = MAIN,
    message: str = "",
    overwrite: bool = False,
    console: Console | None = None,
) -> Pushed:
    """Put a run's model (or a model folder) on the hub as `name`, in one commit.

    Only the files that the model is sealed with and its card go there: no rows, no predictions, no
    journal, no recipe. The card is renewed before, unless a person has changed it. name: user/name;
    made where it is not there. revision: a branch; made from main where it is not there. overwrite:
    replace also a card that was changed on the hub. Answers with the commit's `url` and hash.
    Raises RecipeError, for an ensemble, too.

        pushed = trivium.push("runs/first", "desk/support", private=True)
        pushed.url, pushed.commit
    """
    console = heard_on(console)
    if not is_hub_name(name):
        raise RecipeError(
            f"{name!r}: is no name of a model on the hub, which is user/name (or "
            "organisation/name), such as desk/support."
        )
    folder = find_model(Path(run))
    own = own_files(unseal(folder, MANIFEST), MANIFEST)
    # Of an export for other libraries, what each task's folder says of itself goes along.
    files = [file for file in own if file != CARD and (folder / file).is_file()]
    _renew_card(Path(run), folder, name, console)
    place = Place(name, revision).made(private=private)
    if _takes_card(folder, place, overwrite, console):
        files.append(CARD)
    return upload(folder, files, place, message or f"Model {folder_name(folder)}")


def folder_name(folder: Path) -> str:
    """What people call a model's folder: by its run."""
    whole = folder.resolve()
    return whole.parent.name if whole.name == MODEL else whole.name


def _renew_card(run: Path, folder: Path, name: str, console: Console) -> None:
    whole = folder.parent if folder.name == MODEL else run
    if (whole / RECIPE).is_file() and (whole / MODEL).is_dir():
        if not write_card(read_run(whole), name):
            _note(console, f"{folder / CARD} was changed by hand: it goes as it is.")
    elif not (folder / CARD).is_file():
        _note(console, "there is no card: only a whole run's folder tells what it would say.")


def _takes_card(folder: Path, place: Place, overwrite: bool, console: Console) -> bool:
    """Whether the folder's card is to go to where the hub's is."""
    if not (folder / CARD).is_file():
        return False
    there = place.card()
    ours = (folder / CARD).read_bytes().decode(errors="replace")
    if there is None or overwrite or not is_changed(there) or there == ours:
        return True
    _note(
        console,
        f"{place.name}: the card on the hub was changed there: it is left as it is (--overwrite "
        "replaces it).",
    )
    return False


def _note(console: Console, text: str) -> None:
    say(console, f"note: {text}")
