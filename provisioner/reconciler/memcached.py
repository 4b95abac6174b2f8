"""What memcached nodes are started with, and who may use them.

The bundled server reads its file of logins again when it is told to. A stock one does so for the
text protocol (SIGHUP) and asks the gateway about every login of SASL; whether there are logins at
all, and where it listens, it is only told at its start. Its data does not outlive that, as with any
other change of its command line.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import structlog
from sqlalchemy import select

from cachefleet.engine.gateway.routes import LoginSocket, LoginUser
from cachefleet.engine.memcached.config import BUNDLED, Logins, MemcachedConfig, render_argv
from cachefleet.engine.types import EngineBinary
from cachefleet.provisioner.drivers.base import ProcessSpec
from cachefleet.provisioner.reconciler.binaries import RESTORE_ITEMS_FILE
from cachefleet.provisioner.reconciler.fleet import MEMCACHED_USER, Fleet
from cachefleet.provisioner.reconciler.memory import MB, max_cache_memory_mb
from cachefleet.provisioner.reconciler.records import (
    SubjectRecord,
    behind_port,
    load_subject,
    own_endpoint,
)
from cachefleet.provisioner.reconciler.sealing import SealedData
from cachefleet.provisioner.reconciler.transit import node_certificate, transit_of
from cachefleet.provisioner.state.leases import Lease
from cachefleet.provisioner.state.login_tables import MemcachedLogin
from cachefleet.provisioner.state.master_key import UnreadableSecret, UnusableMasterKey
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster, CacheNode

DISCOVERY_FILE = "cluster-config"
SAVED_ITEMS_FILE = "saved.items"
LOADED_BYTES_A_BYTE, SPARE_MB = 8, 64  # what small items take in memory, at the most
LOGINS_FILE = "logins"  # of the bundled server: names and SHA-256
AUTH_FILE = "auth"  # of a stock one: names and passwords
SASL_FILE = "memcached.conf"  # what Cyrus SASL looks for
SASL_PATH_VARIABLE = "SASL_CONF_PATH"
SASL_SOCKET_SUFFIX = ".in"
TEXT_ONLY = "ascii"  # binding_protocol
# A login that changes with the file: whoever is let in with it knows that the file was read.
CHECK_USER = f"{MEMCACHED_USER}-check"

log = structlog.get_logger(__name__)


def memcached_spec(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, binary: EngineBinary
) -> ProcessSpec:
    """Return the process of a memcached node, with the list of nodes it tells clients of.

    Raises:
        SealedData: the passwords of its logins cannot be opened.
    """
    settings = record.settings
    directory = fleet.driver.directory(node.uid)
    node_type = fleet.catalog.node_type(settings.node_type)
    assert node_type is not None, settings.node_type
    own = own_endpoint(node)
    transit = transit_of(record, fleet)
    tls = node_certificate(node, record, fleet) if transit.engine_tls else None
    bundled = binary.source == BUNDLED
    _prepare_items(directory, fills=record.is_filling)
    sasl = _speaks_sasl(record, fleet)
    argv = render_argv(
        MemcachedConfig(
            binary=binary,
            binds=(own.host,),
            port=behind_port(node),
            control_socket=str(fleet.driver.socket_path(node.uid)),
            max_cache_memory_mb=_memory_mb(directory, record, fleet),
            num_threads=node_type.num_threads,
            parameters=fleet.effective_parameters(record),
            report_version=settings.engine_version,
            cluster_config_file=str(directory / DISCOVERY_FILE),
            memory_file=str(directory / SAVED_ITEMS_FILE),
            # Relative: the command line must not hold a comma, and anybody's directory may.
            tls_cert_file=None if tls is None else os.path.relpath(tls.cert_file, directory),
            tls_key_file=None if tls is None else os.path.relpath(tls.key_file, directory),
            plain_port=node.engine_port if transit.inner_port else None,
            logins=Logins(auth_file=str(directory / AUTH_FILE), sasl=sasl)
            if record.logins and not bundled
            else None,
            logins_file=str(directory / LOGINS_FILE),
        )
    )
    files = {DISCOVERY_FILE: record.discovery_payload().decode()}
    if bundled or record.logins:
        files |= login_files(node, record, fleet, bundled=bundled)
    in_use = sasl and record.logins and not bundled
    env = {SASL_PATH_VARIABLE: str(directory)} if in_use else {}
    return ProcessSpec(uid=node.uid, argv=tuple(argv), files=files, env=env)


def _prepare_items(directory: Path, *, fills: bool) -> None:
    """Put the items that a node is to begin with where the server loads them."""
    if fills:
        # They stay until the cache serves: a start that breaks off is made again with them.
        saved = directory / SAVED_ITEMS_FILE
        saved.unlink(missing_ok=True)
        os.link(directory / RESTORE_ITEMS_FILE, saved)


def forget_items(directory: Path) -> None:
    """See that a node which serves does not begin with its first items once more."""
    (directory / SAVED_ITEMS_FILE).unlink(missing_ok=True)


def _memory_mb(directory: Path, record: SubjectRecord, fleet: Fleet) -> int:
    """Return the limit at the start. Items that are loaded are measured before there is one."""
    limit_mb = max_cache_memory_mb(record, fleet)
    if not record.is_filling:
        return limit_mb
    items_mb = (directory / RESTORE_ITEMS_FILE).stat().st_size // MB
    return max(limit_mb, LOADED_BYTES_A_BYTE * items_mb + SPARE_MB)


async def login_sockets(tx: Transaction, fleet: Fleet) -> tuple[LoginSocket, ...]:
    """Return where stock servers ask about SASL logins, and what they are to be answered."""
    if not fleet.stock_memcached:
        return ()
    with_logins = select(MemcachedLogin.cluster_uid)
    query = select(CacheCluster).where(CacheCluster.uid.in_(with_logins))
    found = []
    for cluster in (await tx.session.scalars(query.order_by(CacheCluster.uid))).all():
        record = await load_subject(
            tx, Lease(cluster.uid, cluster.resource, cluster.scope, epoch=0)
        )
        if record is None or not _speaks_sasl(record, fleet):
            continue
        try:
            known = passwords_of(record, fleet)
        except SealedData as error:
            log.warning("logins_unreadable", cluster=cluster.name, reason=str(error))
            continue
        users = tuple(
            LoginUser(user_name=name, sha256s=tuple(map(_sha256, passwords)))
            for name, passwords in known.items()
        )
        found.append(LoginSocket(socket_path=_sasl_socket(record, fleet), users=users))
    return tuple(found)


def passwords_of(record: SubjectRecord, fleet: Fleet) -> Mapping[str, Sequence[str]]:
    """Return the passwords that are good for each name, in clear, the newest first.

    Raises:
        SealedData: they cannot be opened.
    """
    if not record.logins:
        return {}
    try:
        key = fleet.master_key
        return {one.user_name: one.passwords(key) for one in record.logins}
    except (UnusableMasterKey, UnreadableSecret) as error:
        raise SealedData(f"the logins of {record.settings.name}: {error}") from error


def login_files(
    node: CacheNode, record: SubjectRecord, fleet: Fleet, *, bundled: bool
) -> dict[str, str]:
    known = passwords_of(record, fleet)
    if bundled:
        lines = [f"{name} {_sha256(one)}" for name, some in known.items() for one in some]
        return {LOGINS_FILE: "".join(f"{line}\n" for line in lines)}
    sasl = _speaks_sasl(record, fleet)
    lines = [f"{MEMCACHED_USER}:{node.admin_secret}"]
    if not sasl:
        lines += [f"{name}:{one}" for name, some in known.items() for one in some]
    lines.append(f"{CHECK_USER}:{_check_password(node, lines)}")
    files = {AUTH_FILE: "".join(f"{line}\n" for line in lines)}
    if sasl:
        files[SASL_FILE] = (
            "mech_list: plain\npwcheck_method: saslauthd\n"
            f"saslauthd_path: {_sasl_socket(record, fleet)}\n"
        )
    return files


def _speaks_sasl(record: SubjectRecord, fleet: Fleet) -> bool:
    """Tell which of the two ways of a stock server the cluster's parameters ask for."""
    return fleet.effective_parameters(record).get("binding_protocol") != TEXT_ONLY


def _sasl_socket(record: SubjectRecord, fleet: Fleet) -> str:
    return str(fleet.driver.socket_path(record.lease.subject_uid)) + SASL_SOCKET_SUFFIX


def _check_password(node: CacheNode, lines: Sequence[str]) -> str:
    return hmac.digest(node.admin_secret.encode(), "\n".join(lines).encode(), "sha256").hex()


def _sha256(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
