"""A tiny trained model, which servers of these tests answer with."""

import asyncio
import inspect
from pathlib import Path

import pytest
from rich.console import Console

import trivium
from tests.support.shell import spoken
from tests.support.tables import make_recipe


@pytest.fixture(scope="session")
def run(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served")
    values = make_recipe(tiny, folder)
    console: Console = spoken()[0]
    trivium.train(values, folder / "run", changes=["stages.0.steps=2"], console=console)
    return folder / "run"


@pytest.fixture(scope="session")
def model(run: Path) -> trivium.Predictor:
    return trivium.load(run)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Tests that are coroutines run in an event loop of their own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = pyfuncitem._fixtureinfo.argnames
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True
