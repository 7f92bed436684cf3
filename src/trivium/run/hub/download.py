"""A model's own files fetched from the hub into its cache, and no others."""

import re
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, try_to_load_from_cache

from trivium.run.folder.names import MANIFEST
from trivium.run.folder.sealed import own_files, read_sealed
from trivium.run.hub.refusals import HUB_ERRORS, as_told, is_away

MAIN = "main"
"""The branch that is meant where no revision is named."""


@dataclass(frozen=True, slots=True)
class Fetched:
    folder: Path
    """In the cache of the hub's library: its files are not to be changed."""
    commit: str
    """Its hash, 40 digits."""
    is_from_cache: bool
    """Whether the hub was not asked which commit is meant, or could not be."""


def download(name: str, revision: str | None = None, instead: str = "") -> Fetched:
    """A model of the hub, as its files say they are: unverified.

    name: user/name; revision: a branch, tag or commit; instead: what else the name could have been,
    for messages. What is in the cache is used where the hub cannot be reached, and where a whole
    commit's hash is given. Raises RecipeError.
    """
    wanted = revision or MAIN
    if re.fullmatch(r"[0-9a-f]{40}", wanted) and (kept := _kept(name, wanted)):
        return kept
    api = HfApi()
    with as_told(name, wanted, instead):
        try:
            api.model_info(name, revision=wanted)
        except HUB_ERRORS as error:
            if is_away(error) and (kept := _kept(name, wanted)):
                return kept
            raise
        # By the revision, not by its commit: so that the cache knows the one by the other.
        manifest = Path(api.hf_hub_download(name, MANIFEST, revision=wanted))
    commit = manifest.parent.name
    # What a repository holds beside them may be anything, of any size.
    files = own_files(read_sealed(manifest), MANIFEST)
    with as_told(name, wanted, instead):
        folder = api.snapshot_download(name, revision=commit, allow_patterns=files)
    return Fetched(Path(folder), commit, is_from_cache=False)


def _kept(name: str, revision: str) -> Fetched | None:
    """What the cache has of a revision, if it is whole."""
    with as_told(name, revision):
        manifest = try_to_load_from_cache(name, MANIFEST, revision=revision)
    if not isinstance(manifest, str):  # unknown, or known not to be there
        return None
    folder = Path(manifest).parent
    if not all((folder / file).is_file() for file in read_sealed(Path(manifest))["files"]):
        return None
    return Fetched(folder, folder.name, is_from_cache=True)
