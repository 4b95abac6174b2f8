"""The routes file: a :class:`RouteTable` as text, and back. Pure.

``parse_routes`` takes the file's text and gives a table, or raises :class:`IllegalRoutes` with the
path of the first thing that is wrong. Unknown members are refused: a gateway that is older than the
control plane must not ignore a rule that it cannot keep.
"""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Iterable, Mapping
from typing import Any, Final

from cachefleet.engine.gateway import checked
from cachefleet.engine.gateway.routes import (
    CONNECTIONS_MAX_DEFAULT,
    NAME_CHARS_MAX,
    SESSION_S_MAX,
    Address,
    AuthOptions,
    IamOptions,
    IamUser,
    IllegalRoutes,
    LoginSocket,
    LoginUser,
    Route,
    RouteKind,
    RouteOptions,
    RouteTable,
    ServerlessOptions,
    ShardOptions,
    TlsMode,
    TlsOptions,
)
from cachefleet.engine.outside import trusting

SCHEMA: Final = 1  # of the file's format; ``version`` counts the file's contents
CA_CHARS_MAX: Final = 65_536
# What a serverless route is told only where it differs.
_RARE: Final = frozenset({"outside", "outside_ca", "held"})
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
ROUTES_MAX: Final = 4096
LISTEN_MAX: Final = 16  # addresses a route
BACKENDS_MAX: Final = 512  # the largest cluster has 500 nodes
CONNECTIONS_MAX: Final = 1_000_000
CONNECT_TIMEOUT_S_MAX: Final = 60.0
BUFFER_BYTES_MIN: Final = 4 * 1024
BUFFER_BYTES_MAX: Final = 16 * 1024 * 1024
TOKENS_MAX: Final = 2  # AUTH tokens of a group: the newest and the one before
NETWORKS_MAX: Final = 4096  # of all rules of a subject's security groups
IAM_USERS_MAX: Final = 100  # of a user group
COMMANDS_MAX: Final = 1000  # of an engine
LOGIN_SOCKETS_MAX: Final = 1024  # of stock memcached clusters with logins
LOGIN_USERS_MAX: Final = 16
CLUSTER_CONFIG_BYTES_MAX: Final = 64 * 1024  # 60 nodes of 300 bytes are 18 KiB
VERSION_MAX: Final = 2**53 - 1  # exact in every JSON reader
SLOT_COUNT: Final = 16384
SHARDS_MAX: Final = 500  # of the largest cluster
ECPU_PER_S_MAX: Final = 15_000_000  # the service's own limit
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/-]{{0,{NAME_CHARS_MAX - 1}}}")
_CLUSTER_CONFIG = re.compile(r"[0-9]{1,10}\n[!-~]+( [!-~]+)*\n")


def parse_routes(text: str) -> RouteTable:
    """Read the file's text; raises :class:`IllegalRoutes` and gives no half table."""
    if len(text) > FILE_BYTES_MAX:
        raise IllegalRoutes(f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IllegalRoutes(f"not JSON: {error}") from error
    top = checked.members_of(
        document,
        "the file",
        required={"schema", "version", "routes"},
        optional={"connections_max", "login_sockets"},
    )
    if top["schema"] != SCHEMA or type(top["schema"]) is not int:
        raise IllegalRoutes(f"schema: {top['schema']!r} is not {SCHEMA}")
    routes = checked.list_of(top["routes"], "routes", count_max=ROUTES_MAX, item=_route)
    _require_distinct((route.name for route in routes), "the route name {} is used twice")
    _require_distinct(
        (address for route in routes for address in route.listen), "two routes listen on {}"
    )
    return RouteTable(
        version=checked.whole(top["version"], "version", low=0, high=VERSION_MAX),
        routes=routes,
        login_sockets=checked.list_of(
            top.get("login_sockets", []),
            "login_sockets",
            count_max=LOGIN_SOCKETS_MAX,
            item=_login_socket,
        ),
        connections_max=checked.whole(
            top.get("connections_max", CONNECTIONS_MAX_DEFAULT),
            "connections_max",
            low=1,
            high=CONNECTIONS_MAX,
        ),
    )


def render_routes(table: RouteTable) -> str:
    """The file's text for *table*: what :func:`parse_routes` reads back as an equal table.

    Raises :class:`IllegalRoutes` when the gateway would refuse it, so that a mistake is found
    by the process that made it.
    """
    document = {
        "schema": SCHEMA,
        "version": table.version,
        "connections_max": table.connections_max,
        "routes": [_rendered_route(route) for route in table.routes],
        "login_sockets": [
            {**vars(one), "users": [vars(user) for user in one.users]}
            for one in table.login_sockets
        ],
    }
    text = json.dumps(document, indent=1) + "\n"
    parse_routes(text)
    return text


def _rendered_route(route: Route) -> dict[str, Any]:
    defaults = RouteOptions()
    return {
        "name": route.name,
        "listen": [list(address) for address in route.listen],
        "kind": route.kind.value,
        "backends": [address._asdict() for address in route.backends],
        "fallback": [address._asdict() for address in route.fallback],
        "options": {
            name: _rendered_option(value)
            for name, value in vars(route.options).items()
            if value != getattr(defaults, name)
        },
    }


def _rendered_option(value: object) -> object:
    if isinstance(value, TlsOptions):
        return {**vars(value), "mode": value.mode.value}
    if isinstance(value, AuthOptions):
        iam = value.iam
        told = None
        if iam is not None:
            told = {**vars(iam), "users": [vars(user) for user in iam.users]}
        return {**vars(value), "iam": told}
    if isinstance(value, ServerlessOptions):
        told = {name: one for name, one in vars(value).items() if name not in _RARE or one}
        return {
            **told,
            "shards": [
                {
                    "slots": [list(pair) for pair in shard.slots],
                    "primary": list(shard.primary),
                    "replicas": [list(replica) for replica in shard.replicas],
                }
                for shard in value.shards
            ],
        }
    return value


def _route(value: object, where: str) -> Route:
    members = checked.members_of(
        value,
        where,
        required={"name", "listen", "kind"},
        optional={"backends", "fallback", "options"},
    )
    name = members["name"]
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise IllegalRoutes(f"{where}.name: {name!r} is not a route name")
    kinds = {kind.value: kind for kind in RouteKind}
    if not isinstance(members["kind"], str) or members["kind"] not in kinds:
        raise IllegalRoutes(f"{where}.kind: {members['kind']!r} is none of {sorted(kinds)}")
    route = Route(
        name=name,
        listen=checked.list_of(
            members["listen"], f"{where}.listen", count_max=LISTEN_MAX, item=checked.pair
        ),
        kind=kinds[members["kind"]],
        backends=_backends(members, "backends", where),
        fallback=_backends(members, "fallback", where),
        options=_options(members.get("options", {}), f"{where}.options"),
    )
    _require_servable(route, where)
    return route


def _require_servable(route: Route, where: str) -> None:
    for address in (*route.backends, *route.fallback):
        if address in route.listen:
            raise IllegalRoutes(f"{where}: {address} would be forwarded to itself")
    wants_config = route.kind is RouteKind.MEMCACHED_DISCOVERY
    if wants_config != (route.options.cluster_config is not None):
        raise IllegalRoutes(
            f"{where}.options.cluster_config: needed by, and only by, memcached_discovery"
        )
    if (route.kind is RouteKind.SERVERLESS) != (route.options.serverless is not None):
        raise IllegalRoutes(f"{where}.options.serverless: needed by, and only by, serverless")


def _backends(members: Mapping[str, Any], name: str, where: str) -> tuple[Address, ...]:
    return checked.list_of(
        members.get(name, []),
        f"{where}.{name}",
        count_max=BACKENDS_MAX,
        item=checked.host_and_port,
    )


def _options(value: object, where: str) -> RouteOptions:
    defaults = RouteOptions()
    members = {**vars(defaults), **checked.members_of(value, where, optional=set(vars(defaults)))}
    timeout_s = members["connect_timeout_s"]
    if type(timeout_s) not in (int, float) or not 0.01 <= timeout_s <= CONNECT_TIMEOUT_S_MAX:
        raise IllegalRoutes(f"{where}.connect_timeout_s: {timeout_s!r} is not 0.01 to 60 seconds")
    if type(members["cut_on_change"]) is not bool:
        raise IllegalRoutes(f"{where}.cut_on_change: not true or false")
    for name in ("readonly", "tls_only"):
        if type(members[name]) is not bool:
            raise IllegalRoutes(f"{where}.{name}: not true or false")
    return RouteOptions(
        cut_on_change=members["cut_on_change"],
        readonly=members["readonly"],
        tls_only=members["tls_only"],
        bind_source=None
        if members["bind_source"] is None
        else checked.host(members["bind_source"], f"{where}.bind_source"),
        connect_timeout_s=timeout_s,
        connections_max=checked.whole(
            members["connections_max"], f"{where}.connections_max", low=1, high=CONNECTIONS_MAX
        ),
        buffer_bytes=checked.whole(
            members["buffer_bytes"],
            f"{where}.buffer_bytes",
            low=BUFFER_BYTES_MIN,
            high=BUFFER_BYTES_MAX,
        ),
        tls=_tls(members["tls"], f"{where}.tls"),
        auth=_auth(members["auth"], f"{where}.auth"),
        admitted=_admitted(members["admitted"], f"{where}.admitted"),
        refused_writes=checked.list_of(
            members["refused_writes"],
            f"{where}.refused_writes",
            count_max=COMMANDS_MAX,
            item=checked.word,
        )
        if members["refused_writes"] != ()
        else (),
        cluster_config=_cluster_config(members["cluster_config"], f"{where}.cluster_config"),
        serverless=parse_serverless(members["serverless"], f"{where}.serverless"),
        backend_ca=_authorities(members["backend_ca"], f"{where}.backend_ca"),
    )


def _tls(value: object, where: str) -> TlsOptions | None:
    if value is None:
        return None
    members = checked.members_of(value, where, required={"mode", "certificate_path", "key_path"})
    modes = {mode.value: mode for mode in TlsMode}
    if not isinstance(members["mode"], str) or members["mode"] not in modes:
        raise IllegalRoutes(f"{where}.mode: {members['mode']!r} is none of {sorted(modes)}")
    return TlsOptions(
        mode=modes[members["mode"]],
        certificate_path=checked.path(members["certificate_path"], f"{where}.certificate_path"),
        key_path=checked.path(members["key_path"], f"{where}.key_path"),
    )


def _admitted(value: object, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    return checked.list_of(value, where, count_max=NETWORKS_MAX, item=checked.network)


def _auth(value: object, where: str) -> AuthOptions | None:
    if value is None:
        return None
    members = checked.members_of(value, where, optional={"optional_token_sha256s", "iam"})
    return AuthOptions(
        optional_token_sha256s=checked.list_of(
            members.get("optional_token_sha256s", []),
            f"{where}.optional_token_sha256s",
            count_max=TOKENS_MAX,
            item=checked.sha256,
        ),
        iam=_iam(members.get("iam"), f"{where}.iam"),
    )


def _iam(value: object, where: str) -> IamOptions | None:
    if value is None:
        return None
    members = checked.members_of(
        value,
        where,
        required={"cache_name", "account", "region", "keys_path", "users"},
        optional={"serverless", "session_s_max"},
    )
    serverless = members.get("serverless", False)
    if type(serverless) is not bool:
        raise IllegalRoutes(f"{where}.serverless: not true or false")
    return IamOptions(
        cache_name=checked.word(members["cache_name"], f"{where}.cache_name"),
        account=checked.word(members["account"], f"{where}.account"),
        region=checked.word(members["region"], f"{where}.region"),
        keys_path=checked.path(members["keys_path"], f"{where}.keys_path"),
        users=checked.list_of(
            members["users"], f"{where}.users", count_max=IAM_USERS_MAX, item=_iam_user
        ),
        serverless=serverless,
        session_s_max=checked.whole(
            members.get("session_s_max", SESSION_S_MAX),
            f"{where}.session_s_max",
            low=1,
            high=SESSION_S_MAX,
        ),
    )


def _iam_user(value: object, where: str) -> IamUser:
    members = checked.members_of(value, where, required={"user_name", "password"})
    return IamUser(
        user_name=checked.word(members["user_name"], f"{where}.user_name"),
        password=checked.word(members["password"], f"{where}.password"),
    )


def _login_socket(value: object, where: str) -> LoginSocket:
    members = checked.members_of(value, where, required={"socket_path", "users"})
    return LoginSocket(
        socket_path=checked.path(members["socket_path"], f"{where}.socket_path"),
        users=checked.list_of(
            members["users"], f"{where}.users", count_max=LOGIN_USERS_MAX, item=_login_user
        ),
    )


def _login_user(value: object, where: str) -> LoginUser:
    members = checked.members_of(value, where, required={"user_name", "sha256s"})
    return LoginUser(
        user_name=checked.word(members["user_name"], f"{where}.user_name"),
        sha256s=checked.list_of(
            members["sha256s"], f"{where}.sha256s", count_max=TOKENS_MAX, item=checked.sha256
        ),
    )


def _cluster_config(value: object, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > CLUSTER_CONFIG_BYTES_MAX:
        raise IllegalRoutes(f"{where}: not a string of at most {CLUSTER_CONFIG_BYTES_MAX} bytes")
    if not _CLUSTER_CONFIG.fullmatch(value):
        raise IllegalRoutes(f"{where}: not a version line and a line of host|ip|port words")
    return value


def parse_serverless(value: object, where: str) -> ServerlessOptions | None:
    """Read what a serverless route is told; raises :class:`IllegalRoutes`."""
    if value is None:
        return None
    members = checked.members_of(
        value,
        where,
        required={"host", "port", "reads_port", "node_ids", "shards"},
        optional={"ecpu_per_s", *_RARE},
    )
    ids = checked.list_of(
        members["node_ids"], f"{where}.node_ids", count_max=2, count_min=2, item=checked.node_id
    )
    ecpu = members.get("ecpu_per_s")
    return ServerlessOptions(
        host=checked.word(members["host"], f"{where}.host"),
        port=checked.port(members["port"], f"{where}.port"),
        reads_port=checked.port(members["reads_port"], f"{where}.reads_port"),
        node_ids=(ids[0], ids[1]),
        shards=checked.list_of(
            members["shards"], f"{where}.shards", count_max=SHARDS_MAX, count_min=1, item=_shard
        ),
        ecpu_per_s=None
        if ecpu is None
        else checked.whole(ecpu, f"{where}.ecpu_per_s", low=1, high=ECPU_PER_S_MAX),
        outside=_flag(members.get("outside", False), f"{where}.outside"),
        outside_ca=_authorities(members.get("outside_ca", ""), f"{where}.outside_ca"),
        held=_flag(members.get("held", False), f"{where}.held"),
    )


def _flag(value: object, where: str) -> bool:
    if type(value) is not bool:
        raise IllegalRoutes(f"{where}: not true or false")
    return value


def _authorities(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > CA_CHARS_MAX:
        raise IllegalRoutes(f"{where}: not a string of at most {CA_CHARS_MAX} characters")
    try:
        if value:
            trusting(value)
    except ssl.SSLError as error:
        raise IllegalRoutes(f"{where}: no certificate in PEM") from error
    return value


def _shard(value: object, where: str) -> ShardOptions:
    members = checked.members_of(value, where, required={"slots", "primary"}, optional={"replicas"})
    return ShardOptions(
        slots=checked.list_of(
            members["slots"], f"{where}.slots", count_max=SLOT_COUNT, item=_slots
        ),
        primary=checked.pair(members["primary"], f"{where}.primary"),
        replicas=checked.list_of(
            members.get("replicas", []),
            f"{where}.replicas",
            count_max=BACKENDS_MAX,
            item=checked.pair,
        ),
    )


def _slots(value: object, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise IllegalRoutes(f"{where}: not a [first, last] pair")
    first = checked.whole(value[0], where, low=0, high=SLOT_COUNT - 1)
    return first, checked.whole(value[1], where, low=first, high=SLOT_COUNT - 1)


def _require_distinct(values: Iterable[object], message: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise IllegalRoutes(message.format(value))
        seen.add(value)
