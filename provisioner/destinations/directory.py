"""Finds the destination that a configuration names, and keeps it for the next time."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from cachefleet.provisioner.destinations.aws import make_destination
from cachefleet.provisioner.destinations.base import Destination, place_of
from cachefleet.provisioner.destinations.folder import FolderDestination
from cachefleet.provisioner.state.scope import Scope

T = TypeVar("T")

FOLDER, AWS = "folder", "aws"  # values of the setting that are no URLs
KEPT_MAX = 256
THREADS_MAX = 8  # of destinations that are away; each call takes seconds at most

Key = tuple[Scope, str, str]


class Destinations:
    """What *endpoint* (``folder``, ``aws`` or a URL) makes of configurations."""

    def __init__(self, *, endpoint: str, folder: Path) -> None:
        self._endpoint = endpoint
        self._folder = folder
        self._kept: OrderedDict[Key, Destination] = OrderedDict()
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="delivery")

    def find(self, scope: Scope, entry: Mapping[str, Any]) -> Destination:
        """Return the destination of a ``LogDeliveryConfiguration``; made at its first use."""
        kind, place = entry["DestinationType"], place_of(entry)
        key = (scope, kind, place)
        found = self._kept.get(key)
        if found is None:
            found = self._make(scope, kind, place)
            self._kept[key] = found
        self._kept.move_to_end(key)
        while len(self._kept) > KEPT_MAX:
            self._kept.popitem(last=False)
        return found

    async def run(self, work: Callable[[], T]) -> T:
        """Do what blocks in a thread, beside everything else."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def close(self) -> None:
        """Let go of the threads; calls under way end by themselves."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _make(self, scope: Scope, kind: str, place: str) -> Destination:
        if self._endpoint == FOLDER:
            return FolderDestination(self._folder / scope.account / scope.region, place)
        url = None if self._endpoint == AWS else self._endpoint
        return make_destination(kind, place, scope=scope, endpoint_url=url)
