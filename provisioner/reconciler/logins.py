"""Make running memcached nodes know the logins of the record.

The bundled server reads its file again when it is told to, a stock one at SIGHUP. Whether there are
logins at all, and where it listens, a stock one learns at its start alone: it is started anew.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import structlog

from cachefleet.engine.errors import CommandRefused, NodeUnreachable, NoEngineBinary
from cachefleet.engine.memcached.adapter import MemcachedAdapter
from cachefleet.engine.memcached.config import BUNDLED
from cachefleet.engine.types import Engine
from cachefleet.provisioner.reconciler.binaries import binary_for
from cachefleet.provisioner.reconciler.fleet import Fleet
from cachefleet.provisioner.reconciler.memcached import (
    AUTH_FILE,
    CHECK_USER,
    LOGINS_FILE,
    login_files,
    memcached_spec,
)
from cachefleet.provisioner.reconciler.observe import is_kept_down
from cachefleet.provisioner.reconciler.records import SubjectRecord, engine_endpoint
from cachefleet.provisioner.reconciler.stopping import end_node
from cachefleet.provisioner.state import lifecycle
from cachefleet.provisioner.state.tables import CacheNode

# What a running stock server cannot be told: listeners, TLS, whether and how clients log in.
START_VALUES, START_FLAGS = ("-l", "-p", "-Y"), ("-S", "-Z")
RELOAD_TIMEOUT_S, RELOAD_POLL_S = 10.0, 0.05  # it looks for the signal once a second

log = structlog.get_logger(__name__)


async def end_displaced(record: SubjectRecord, fleet: Fleet) -> None:
    """End nodes that only a start can bring to where they have to listen, and to who may use them.

    The steps that follow start them again, empty.
    """
    if record.engine is not Engine.MEMCACHED:
        return
    nodes = [
        node
        for node in record.live_nodes
        if node.host is not None and await fleet.driver.find(node.uid) is not None
    ]
    try:
        binary = binary_for(record, fleet) if nodes else None
    except NoEngineBinary:
        binary = None
    if binary is None:
        return  # nothing that was ended could be started again
    for node in nodes:
        running = fleet.driver.command_line(node.uid)
        if running[: len(binary.argv)] != binary.argv:
            continue  # it runs something else altogether, which is renewed in its own time
        if binary.source == BUNDLED:
            # One of an older release cannot read logins.
            displaced = bool(record.logins) and "--logins-file" not in running
        else:
            wanted = memcached_spec(node, record, fleet, binary).argv
            displaced = _start_options(running) != _start_options(wanted)
        if displaced:
            log.info("node_displaced", node=node.uid, member=node.member_name)
            await end_node(node, record.engine, fleet, save=False)


async def ensure_logins(record: SubjectRecord, fleet: Fleet) -> None:
    """Have every live node know the logins of the record; who has none any more is disconnected.

    Raises:
        NodeUnreachable, CommandRefused: a node did not take them; others may have.
        SealedData: the passwords cannot be opened.
    """
    if record.engine is not Engine.MEMCACHED:
        return
    bundled = not fleet.stock_memcached
    settled = [
        node
        for node in record.live_nodes
        # A node that is being created was started with them.
        if node.status != lifecycle.NODE_CREATING and not await is_kept_down(node, fleet)
    ]
    await asyncio.gather(*(_push(node, record, fleet, bundled=bundled) for node in settled))


async def _push(node: CacheNode, record: SubjectRecord, fleet: Fleet, *, bundled: bool) -> None:
    directory = fleet.driver.directory(node.uid)
    name = LOGINS_FILE if bundled else AUTH_FILE
    if not record.logins and not (directory / name).exists():
        return
    if not bundled and not record.logins:
        (directory / AUTH_FILE).unlink(missing_ok=True)  # it was started anew without it
        return
    text = login_files(node, record, fleet, bundled=bundled)[name]
    if not (directory / name).exists() or (directory / name).read_text() != text:
        _write_private(directory / name, text)
        log.info("node_logins_set", node=node.uid, member=node.member_name)
    # The file alone proves nothing: we may have died before the server was told.
    if bundled:
        await fleet.memcached(node).reload_logins()
    else:
        await _reload_stock(node, text, fleet)


async def _reload_stock(node: CacheNode, text: str, fleet: Fleet) -> None:
    """Return once a stock server has read its file.

    Raises:
        NodeUnreachable: it did not in time.
    """
    check = text.splitlines()[-1].partition(":")[2]
    adapter = MemcachedAdapter(
        endpoint=engine_endpoint(node), timeout_s=fleet.settings.command_timeout_s
    )
    try:
        async with asyncio.timeout(RELOAD_TIMEOUT_S):
            while True:
                try:
                    await adapter.log_in(CHECK_USER, check)
                except CommandRefused:
                    await fleet.driver.signal(node.uid, signal.SIGHUP)
                    await asyncio.sleep(RELOAD_POLL_S)
                else:
                    return
    except TimeoutError:
        raise NodeUnreachable(f"{node.member_name} did not read its logins in time") from None
    finally:
        await adapter.aclose()


def _write_private(path: Path, text: str) -> None:
    aside = path.with_name(path.name + ".aside")
    with os.fdopen(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    aside.replace(path)


def _start_options(argv: Sequence[str]) -> tuple[object, ...]:
    values = {name: argv[at + 1] for at, name in enumerate(argv[:-1]) if name in START_VALUES}
    return values, {name for name in START_FLAGS if name in argv}
