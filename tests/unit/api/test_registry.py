"""The registry: only what the model has, only once, found in every module of a package."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from cachefleet.api.app import load_registry
from cachefleet.api.protocol.model import load_model
from cachefleet.api.registry import DuplicateAction, Registry, UnknownOperation, action


@action("DescribeUsers")
async def describe_users(ctx: Any, params: Any) -> None:
    return None


@action("DescribeUsers")
async def describe_users_again(ctx: Any, params: Any) -> None:
    return None


async def unmarked(ctx: Any, params: Any) -> None:
    return None


def test_refuses_an_operation_that_the_model_lacks() -> None:
    with pytest.raises(UnknownOperation):
        action("DescribeUsres")


def test_refuses_a_handler_that_cannot_be_awaited() -> None:
    def handler(ctx: Any, params: Any) -> Any: ...

    with pytest.raises(TypeError):
        action("DescribeUsers")(handler)


def test_refuses_two_handlers_but_not_one_twice() -> None:
    registry = Registry(load_model(), [describe_users, describe_users])
    assert registry.handlers == {"DescribeUsers": describe_users}
    with pytest.raises(DuplicateAction):
        Registry(load_model(), [describe_users, describe_users_again])


def test_refuses_an_unmarked_handler() -> None:
    with pytest.raises(UnknownOperation):
        Registry(load_model(), [unmarked])


def test_lists_what_is_and_what_is_not_implemented() -> None:
    registry = Registry(load_model(), [describe_users])
    assert registry.implemented() == ("DescribeUsers",)
    missing = registry.not_implemented()
    assert len(missing) == len(load_model().operations) - 1
    assert list(missing) == sorted(missing)
    assert "DescribeUsers" not in missing


@pytest.fixture
def package(tmp_path: Path) -> Iterator[ModuleType]:
    """A package of two modules, one of which imports the other's handler."""
    folder = tmp_path / "pretend_actions"
    (folder / "deep").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "deep" / "__init__.py").write_text("")
    (folder / "deep" / "users.py").write_text(
        "from cachefleet.api.registry import action\n"
        "@action('DescribeUsers')\n"
        "async def describe(ctx, params): ...\n"
    )
    (folder / "events.py").write_text(
        "from cachefleet.api.registry import action\n"
        "from pretend_actions.deep.users import describe\n"
        "@action('DescribeEvents')\n"
        "async def events(ctx, params): ...\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        yield __import__("pretend_actions")
    finally:
        sys.path.remove(str(tmp_path))
        for name in [name for name in sys.modules if name.startswith("pretend_actions")]:
            del sys.modules[name]


def test_finds_the_handlers_of_a_whole_package(package: ModuleType) -> None:
    registry = Registry.of_package(load_model(), package)
    assert registry.implemented() == ("DescribeEvents", "DescribeUsers")


def test_our_own_actions_load() -> None:
    registry = load_registry(load_model())
    assert set(registry.implemented()) <= set(load_model().operations)
