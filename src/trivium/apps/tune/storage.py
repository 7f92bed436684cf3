"""Where Optuna remembers trials: a file in the search's folder, or a database."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from sqlalchemy import URL, NullPool, make_url
from sqlalchemy.exc import SQLAlchemyError

from trivium.apps.tune.folder import Folder, other_settings
from trivium.errors import RecipeError, first_line
from trivium.recipe import RecipeFile
from trivium.recipe.parse import parse_file
from trivium.run.folder.atomic import refusals_told

LOCAL = ("sqlite", "journal")
"""Files in the search's folder, which only its own workers use."""
SQLITE, JOURNAL = "study.db", "journal.log"
WAIT_S = 60
"""For a lock on the file, which others hold for milliseconds."""
PACKAGES = {"psycopg": "'psycopg[binary]'", "psycopg2": "psycopg2-binary", "MySQLdb": "mysqlclient"}
"""Module of a driver -> what to install, where the names differ."""
RECIPE = "recipe"


def public_name(storage: str) -> str:
    """A storage as it may be shown and written down: without its password."""
    if storage in LOCAL:
        return storage
    try:
        return make_url(storage).render_as_string(hide_password=True)
    except (SQLAlchemyError, ValueError) as error:
        raise RecipeError(
            f"--storage {storage}: is neither sqlite, journal, nor the URL of a database, such as "
            "postgresql+psycopg://user:password@host/database."
        ) from error


def open_study(
    folder: Folder,
    storage: BaseStorage,
    name: str,
    file: RecipeFile,
    open_or_begin: Callable[[], optuna.Study],
) -> optuna.Study:
    """The search as Optuna keeps it. Raises RecipeError where it is another recipe's."""
    again = "Once there is room, the same command goes on from here."
    told = refusals_told(folder.path, lambda: again)
    with told, explained(folder.storage), folder.locked():
        if folder.has_trials and name not in optuna.get_all_study_names(storage):
            raise RecipeError(
                f"{folder.path}: holds trials that the storage {folder.storage} knows nothing of. "
                "Give it back what it had, or name another folder with --out."
            )
        study = open_or_begin()
        if RECIPE not in study.user_attrs:
            study.set_user_attr(RECIPE, file.table())
        old = parse_file(study.user_attrs[RECIPE], f"storage {folder.storage}")
    # Other machines may have their files elsewhere.
    if changes := other_settings(old, file, "data", "encoder"):
        raise RecipeError(
            f"storage {folder.storage}: the search {name!r} in it began with another recipe: "
            f"{changes}. Put the settings back, rename the recipe's file, or name another storage."
        )
    return study


@contextmanager
def explained(storage: str) -> Iterator[None]:
    """What a database may raise, as a RecipeError."""
    try:
        yield
    except (SQLAlchemyError, StorageInternalError) as error:
        reason = first_line(error.__cause__ or error).rstrip(".")
        raise RecipeError(
            f"storage {storage}: {reason}. Once that is mended, the same command goes on from here."
        ) from error


def open_file(folder: Folder, kind: str) -> BaseStorage:
    """A storage in the search's own folder: sqlite or journal."""
    if kind == "journal":
        return JournalStorage(JournalFileBackend(str(folder.path / JOURNAL)))
    url = URL.create("sqlite", database=str(folder.path / SQLITE))
    return connect(url.render_as_string(), kind)


def connect(url: str, public: str) -> BaseStorage:
    """A database. public: its URL as it may be shown. Raises RecipeError."""
    # A connection that the other side has closed meanwhile is to be found out before its use.
    options: dict[str, Any] = {"pool_pre_ping": True}
    if (parsed := make_url(url)).get_backend_name() == "sqlite":
        options = {"connect_args": {"timeout": WAIT_S}}
        if parsed.database not in (None, "", ":memory:"):
            # A file is closed after each use: nobody else would, and Python 3.13 warns of that.
            options["poolclass"] = NullPool
    try:
        with explained(public):
            return RDBStorage(url, engine_kwargs=options)
    except ImportError as error:
        missing = getattr(error.__cause__, "name", None) or make_url(url).get_driver_name()
        raise RecipeError(
            f"--storage {public}: its driver {missing} is not installed: "
            f"pip install {PACKAGES.get(missing, missing)}"
        ) from error
    except RuntimeError as error:  # written by another version of Optuna
        raise RecipeError(f"--storage {public}: {error}") from error
