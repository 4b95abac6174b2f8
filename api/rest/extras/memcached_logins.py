"""``/v1/cache-clusters/{CacheClusterId}/logins``: who may use a memcached cluster.

AWS's memcached has no authentication, so AWS has no call for it. A cluster without logins lets
everybody in; from the first one on, clients have to log in: with SASL PLAIN over the binary
protocol, or in text as memcached 1.6 has it, by a ``set`` whose value is name and password.
"""

from __future__ import annotations

import asyncio
import enum
import re
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, SecretStr

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import request_id_of, scope_of
from cachefleet.api.validation.refusals import not_built, wrong_combination, wrong_value
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import lifecycle, logins
from cachefleet.provisioner.state.login_tables import MemcachedLogin
from cachefleet.provisioner.state.logins import TooManyLogins
from cachefleet.provisioner.state.master_key import MasterKey, ensure_master_key
from cachefleet.provisioner.state.operations import OperationKind
from cachefleet.provisioner.state.store import Transaction
from cachefleet.provisioner.state.tables import CacheCluster

NAME_CHARS_MAX = 255
PASSWORD_CHARS_MIN, PASSWORD_CHARS_MAX = 16, 128  # as users of the other engines have them
# The text protocol ends a name at a blank, memcached's file at a colon, SASL at an at sign.
_USER_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_PASSWORD: Final = re.compile(r"[!-~]+", re.ASCII)
RESERVED: Final = "cachefleet"

ClusterName = Annotated[str, Path(max_length=NAME_CHARS_MAX)]
UserName = Annotated[str, Path(max_length=NAME_CHARS_MAX)]


class Strategy(enum.StrEnum):
    """What happens to the password that a login had."""

    SET = "SET"  # it is good no more
    ROTATE = "ROTATE"  # it stays good beside the new one


class NewPassword(BaseModel):
    """A login's new password."""

    model_config = ConfigDict(extra="forbid")

    Password: SecretStr = Field(description="16 to 128 printable characters without blanks")
    Strategy: Strategy = Strategy.SET


class Login(BaseModel):
    """A login; its passwords are told to nobody."""

    UserName: str
    PasswordCount: int
    ChangedAt: datetime


class LoginList(BaseModel):
    """All logins of a cluster, in order of name; with none, everybody is let in."""

    CacheClusterId: str
    Logins: list[Login]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["memcached logins"])
    services = front_end.services
    store = services.store

    async def master_key() -> MasterKey:
        path = services.settings.master_key_path
        if path is None:
            raise not_built("A front-end without a master key cannot keep passwords.")
        return await asyncio.to_thread(ensure_master_key, path)

    @routes.get(
        "/v1/cache-clusters/{CacheClusterId}/logins",
        operation_id="ListMemcachedLogins",
        summary="The logins of a memcached cluster.",
    )
    async def list_logins(request: Request, CacheClusterId: ClusterName) -> LoginList:  # noqa: N803
        """Names and how many passwords are good for each."""
        async with store.read(scope_of(request)) as tx:
            cluster = await _cluster(tx, CacheClusterId, lock=False)
            rows = await logins.rows_of(tx, cluster.uid)
            return LoginList(CacheClusterId=cluster.name, Logins=[_view(row) for row in rows])

    @routes.put(
        "/v1/cache-clusters/{CacheClusterId}/logins/{UserName}",
        operation_id="PutMemcachedLogin",
        summary="Add a login to a memcached cluster, or give it another password.",
    )
    async def put_login(
        request: Request,
        CacheClusterId: ClusterName,  # noqa: N803
        UserName: UserName,  # noqa: N803
        wanted: NewPassword,
    ) -> Login:
        """The cluster is ``modifying`` until every node knows it."""
        password = _checked(UserName, wanted.Password.get_secret_value())
        key = await master_key()
        async with store.begin(scope_of(request)) as tx:
            cluster = await _cluster(tx, CacheClusterId, lock=True)
            lifecycle.require(cluster, lifecycle.Event.MODIFY)
            try:
                row = await logins.put(
                    tx,
                    key,
                    cluster_uid=cluster.uid,
                    user_name=UserName,
                    password=password,
                    keep_previous=wanted.Strategy is Strategy.ROTATE,
                )
            except TooManyLogins:
                raise wrong_value(
                    f"A memcached cluster can have {logins.LOGINS_MAX} logins."
                ) from None
            _apply(tx, cluster, request)
            return _view(row)

    @routes.delete(
        "/v1/cache-clusters/{CacheClusterId}/logins/{UserName}",
        operation_id="DeleteMemcachedLogin",
        summary="Remove a login from a memcached cluster.",
        status_code=204,
    )
    async def delete_login(
        request: Request,
        CacheClusterId: ClusterName,  # noqa: N803
        UserName: UserName,  # noqa: N803
    ) -> Response:
        """Its clients are disconnected. Without the last one everybody is let in again."""
        async with store.begin(scope_of(request)) as tx:
            cluster = await _cluster(tx, CacheClusterId, lock=True)
            lifecycle.require(cluster, lifecycle.Event.MODIFY)
            await logins.remove(tx, cluster_uid=cluster.uid, user_name=UserName)
            _apply(tx, cluster, request)
        return Response(status_code=204)

    return routes


async def _cluster(tx: Transaction, name: str, *, lock: bool) -> CacheCluster:
    cluster = await tx.get(CacheCluster, name, lock=lock)
    if cluster.engine != Engine.MEMCACHED:
        raise wrong_combination(f"Cache cluster {cluster.name} does not run memcached.")
    return cluster


def _apply(tx: Transaction, cluster: CacheCluster, request: Request) -> None:
    lifecycle.fire(cluster, lifecycle.Event.MODIFY)
    tx.enqueue(OperationKind.SETTLE, subject_uid=cluster.uid, token=request_id_of(request))


def _checked(user_name: str, password: str) -> str:
    if not _USER_NAME.fullmatch(user_name) or user_name.lower().startswith(RESERVED):
        raise wrong_value(
            "A user name is 1 to 64 letters, digits, dots, dashes and underscores, "
            f"begins with a letter or digit, and not with {RESERVED}."
        )
    if not PASSWORD_CHARS_MIN <= len(password) <= PASSWORD_CHARS_MAX:
        raise Fault(
            "InvalidParameterValueException",
            f"Passwords length must be between {PASSWORD_CHARS_MIN}-{PASSWORD_CHARS_MAX} "
            "characters.",
        )
    if not _PASSWORD.fullmatch(password):
        raise wrong_value("A password is of printable ASCII characters without blanks.")
    return password


def _view(row: MemcachedLogin) -> Login:
    return Login(
        UserName=row.user_name,
        PasswordCount=len(row.sealed_passwords),
        ChangedAt=row.changed_at,
    )
