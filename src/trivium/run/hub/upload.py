"""A model's own files put on the hub, in one commit: all of them, or none."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi
from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

from trivium.errors import RecipeError
from trivium.run.folder.names import CARD
from trivium.run.hub.download import MAIN
from trivium.run.hub.refusals import as_told


@dataclass(frozen=True, slots=True)
class Place:
    """Where on the hub."""

    name: str
    """user/name."""
    branch: str = MAIN

    def made(self, *, private: bool) -> "Place":
        """The same, once the repository and the branch are there. Raises RecipeError, also where
        the repository is to be private and is not."""
        api = HfApi()
        with as_told(self.name, self.branch):
            # Only said where it is wanted: else an organisation's own default holds.
            api.create_repo(self.name, private=private or None, exist_ok=True)
            if private and not api.model_info(self.name).private:
                raise RecipeError(
                    f"{self.name}: is on the hub already, and public: --private makes only a new "
                    "one private. Change it in its settings there, or use another name."
                )
            if self.branch != MAIN:
                api.create_branch(self.name, branch=self.branch, exist_ok=True)
        return self

    def card(self) -> str | None:
        """The text of the card that is there; None where there is none."""
        with as_told(self.name, self.branch):
            try:
                path = HfApi().hf_hub_download(self.name, CARD, revision=self.branch)
            except LocalEntryNotFoundError:  # nobody answered: it may be there
                raise
            except EntryNotFoundError:
                return None
        return Path(path).read_text(encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Pushed:
    url: str
    """Of the commit."""
    commit: str
    """Its hash."""


def upload(folder: Path, files: Sequence[str], place: Place, message: str) -> Pushed:
    """Put these files of a folder there. Raises RecipeError where the hub does not take them."""
    added = [CommitOperationAdd(file, str(folder / file)) for file in files]
    with as_told(place.name, place.branch):
        done = HfApi().create_commit(
            place.name, added, commit_message=message, revision=place.branch
        )
    return Pushed(str(done.commit_url), str(done.oid))
