"""Which operations have a handler. ``@action("Name")`` marks one; ``Registry`` collects the marked.

The decorator keeps no list: it checks the name against the model and marks the function, so that
importing a module has no effect beyond that module. Names that the model lacks and operations with
two handlers are refused when they are met, at import or when the application is built.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Awaitable, Callable, Iterable, Mapping
from types import MappingProxyType, ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from cachefleet.api.protocol.model import Model, load_model

if TYPE_CHECKING:
    from cachefleet.api.context import RequestContext

Params = Mapping[str, Any]
Result = Mapping[str, Any] | None
Handler = Callable[["RequestContext", Params], Awaitable[Result]]

H = TypeVar("H", bound=Callable[..., Awaitable[Any]])

_MARK: Final = "__cachefleet_action__"


class UnknownOperation(LookupError):
    """The service model has no operation of this name."""


class DuplicateAction(Exception):
    """Two handlers claim one operation."""


def action(name: str) -> Callable[[H], H]:
    """Mark a coroutine function as the handler of operation *name*.

    Raises:
        UnknownOperation: the model has no such operation; at import, so no test is needed.
    """
    model = load_model()
    if name not in model.operations:
        raise UnknownOperation(name)

    def mark(handler: H) -> H:
        function: object = handler  # asked about as an object, or its type would be narrowed
        if not inspect.iscoroutinefunction(function):
            raise TypeError(f"the handler of {name} is not a coroutine function")
        setattr(handler, _MARK, name)
        return handler

    return mark


class Registry:
    """The handlers of a model's operations."""

    def __init__(self, model: Model, handlers: Iterable[Handler]) -> None:
        """Take marked handlers.

        Raises:
            DuplicateAction: an operation has two.
            UnknownOperation: a handler is not marked, or its operation is not in *model*.
        """
        self._model = model
        named: dict[str, Handler] = {}
        for handler in handlers:
            name: str = getattr(handler, _MARK, "")
            if name not in model.operations:
                raise UnknownOperation(f"{handler!r} handles {name or 'nothing'}")
            if named.setdefault(name, handler) is not handler:
                raise DuplicateAction(name)
        self.handlers: Mapping[str, Handler] = MappingProxyType(named)

    @classmethod
    def of_package(cls, model: Model, package: ModuleType) -> Registry:
        """Import every module of *package* and collect the handlers that are found there."""
        handlers: list[Handler] = []
        for info in pkgutil.walk_packages(package.__path__, prefix=f"{package.__name__}."):
            module = importlib.import_module(info.name)
            handlers.extend(value for value in vars(module).values() if hasattr(value, _MARK))
        return cls(model, handlers)

    def implemented(self) -> tuple[str, ...]:
        """Return the operations that have a handler, in order of name."""
        return tuple(sorted(self.handlers))

    def not_implemented(self) -> tuple[str, ...]:
        """Return the operations of the model that have none, in order of name."""
        known = set(self._model.operations) | self._model.unsupported
        return tuple(sorted(known - set(self.handlers)))
