"""The routes file: what the gateway listens on and where each connection goes. Pure.

``parse_routes`` takes the file's text and gives a :class:`RouteTable`, or raises
:class:`IllegalRoutes` with the path of the first thing that is wrong. Unknown members are
refused: a gateway that is older than the control plane must not ignore a rule that it cannot
keep. Hosts are IP literals, because resolving names would put a blocking step, and a second
opinion about where an endpoint is, into the data path.
"""

from __future__ import annotations

import enum
import ipaddress
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeVar

from cachefleet.engine.outside import trusting

SCHEMA: Final = 1  # of the file's format; ``version`` counts the file's contents
FILE_BYTES_MAX: Final = 8 * 1024 * 1024
ROUTES_MAX: Final = 4096
LISTEN_MAX: Final = 16  # addresses a route
BACKENDS_MAX: Final = 512  # the largest cluster has 500 nodes
NAME_CHARS_MAX: Final = 200
PATH_CHARS_MAX: Final = 4096
CONNECTIONS_MAX: Final = 1_000_000
CONNECTIONS_MAX_DEFAULT: Final = 65_000  # what the engines themselves take: maxclients
CONNECT_TIMEOUT_S_MAX: Final = 60.0
CONNECT_TIMEOUT_S_DEFAULT: Final = 2.0
BUFFER_BYTES_MIN: Final = 4 * 1024
BUFFER_BYTES_MAX: Final = 16 * 1024 * 1024
BUFFER_BYTES_DEFAULT: Final = 256 * 1024  # unsent bytes a direction before reading stops
TOKENS_MAX: Final = 2  # AUTH tokens of a group: the newest and the one before
SESSION_S_MAX: Final = 12 * 3600  # how long a token opens a connection
NETWORKS_MAX: Final = 4096  # of all rules of a subject's security groups
IAM_USERS_MAX: Final = 100  # of a user group
USER_NAME_CHARS_MAX: Final = 255
COMMANDS_MAX: Final = 1000  # of an engine
LOGIN_SOCKETS_MAX: Final = 1024  # of stock memcached clusters with logins
LOGIN_USERS_MAX: Final = 16
CLUSTER_CONFIG_BYTES_MAX: Final = 64 * 1024  # 60 nodes of 300 bytes are 18 KiB
VERSION_MAX: Final = 2**53 - 1  # exact in every JSON reader

SLOT_COUNT: Final = 16384
SHARDS_MAX: Final = 500  # of the largest cluster
CA_CHARS_MAX: Final = 65_536
ECPU_PER_S_MAX: Final = 15_000_000  # the service's own limit

_T = TypeVar("_T")
_NODE_ID = re.compile(r"[0-9a-f]{40}")
_NAME = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._:/-]{{0,{NAME_CHARS_MAX - 1}}}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CLUSTER_CONFIG = re.compile(r"[0-9]{1,10}\n[!-~]+( [!-~]+)*\n")


class IllegalRoutes(ValueError):
    """The routes file is not one this gateway can serve; ``args[0]`` says where and why."""


class RouteKind(enum.Enum):
    TCP = "tcp"
    READER = "reader"
    MEMCACHED_DISCOVERY = "memcached_discovery"
    SERVERLESS = "serverless"
    SERVERLESS_MEMCACHED = "serverless_memcached"


class TlsMode(enum.Enum):
    REQUIRED = "required"
    PREFERRED = "preferred"  # plain connections are served on the same port


class Address(NamedTuple):
    """An IP literal and a port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, kw_only=True)
class TlsOptions:
    """TLS ends here; both files are PEM and read at each reload."""

    mode: TlsMode
    certificate_path: str  # the chain, the server's own certificate first
    key_path: str


@dataclass(frozen=True, kw_only=True)
class IamUser:
    """A user that authenticates with IAM, and what the engine is told in its place."""

    user_name: str
    password: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class IamOptions:
    """Tokens of IAM are taken for a cache; *keys_path* has the keys that they are signed with."""

    cache_name: str
    account: str
    region: str
    keys_path: str
    users: tuple[IamUser, ...]
    serverless: bool = False
    session_s_max: int = SESSION_S_MAX  # then a connection ends, unless it authenticated anew


@dataclass(frozen=True, kw_only=True)
class AuthOptions:
    """What is done to commands of a Valkey or Redis OSS connection that authenticate.

    *optional_token_sha256s*: clients are let in without a token and with one of these, because
    ``AUTH <token>`` becomes what an engine takes whose default user has no password. Lower-case
    hex; the file is private to us. *iam*: users whose passwords are tokens.
    """

    optional_token_sha256s: tuple[str, ...] = ()
    iam: IamOptions | None = None


@dataclass(frozen=True, kw_only=True)
class ShardOptions:
    """One shard of a serverless cache: its slots, as first and last, and its nodes."""

    slots: tuple[tuple[int, int], ...]
    primary: Address
    replicas: tuple[Address, ...] = ()


# What a serverless route is told only where it differs.
_RARE: Final = frozenset({"outside", "outside_ca", "held"})


@dataclass(frozen=True, kw_only=True)
class ServerlessOptions:
    """What stands behind the endpoint of a serverless cache, and what clients are told of it.

    *host* is what clients are told, a name or an address; *ecpu_per_s* None is no limit. While data
    is taken over from a server *outside*, the shards are that one's, with TLS where *outside_ca*
    vouches for it. *held*: no command is passed on, and what was is still answered.
    """

    host: str
    port: int
    reads_port: int
    node_ids: tuple[str, str]
    shards: tuple[ShardOptions, ...]
    ecpu_per_s: int | None = None
    outside: bool = False
    outside_ca: str = ""
    held: bool = False


@dataclass(frozen=True, kw_only=True)
class RouteOptions:
    cut_on_change: bool = True  # connections to a backend that left the route are closed
    bind_source: str | None = None  # the address that backends see connections come from
    connect_timeout_s: float = CONNECT_TIMEOUT_S_DEFAULT
    connections_max: int = CONNECTIONS_MAX_DEFAULT
    buffer_bytes: int = BUFFER_BYTES_DEFAULT
    tls: TlsOptions | None = None
    tls_only: bool = False  # TLS has become another's to end: who is here in plain is cut
    auth: AuthOptions | None = None
    admitted: tuple[str, ...] | None = None  # networks that clients may come from; None: any
    readonly: bool = False  # READONLY is said to the backend for the client, first of all
    # Refusals of these commands are told as those of a read-only replica; none where it may write.
    refused_writes: tuple[str, ...] = ()
    cluster_config: str | None = None  # memcached_discovery: "<version>\n<host|ip|port ...>\n"
    serverless: ServerlessOptions | None = None  # serverless


@dataclass(frozen=True, kw_only=True)
class Route:
    """One endpoint: the addresses it listens on and the backends that may serve it.

    One that listens nowhere takes no more clients, and goes on serving those that it has.
    """

    name: str
    listen: tuple[Address, ...]
    kind: RouteKind
    backends: tuple[Address, ...] = ()
    fallback: tuple[Address, ...] = ()
    options: RouteOptions = field(default_factory=RouteOptions)


@dataclass(frozen=True, kw_only=True)
class LoginUser:
    """A user of a memcached cluster, and the SHA-256 of what its passwords may be."""

    user_name: str
    sha256s: tuple[str, ...] = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class LoginSocket:
    """Where the stock memcached servers of one cluster ask whether a login is good."""

    socket_path: str
    users: tuple[LoginUser, ...]


@dataclass(frozen=True, kw_only=True)
class RouteTable:
    version: int
    routes: tuple[Route, ...] = ()
    login_sockets: tuple[LoginSocket, ...] = ()
    connections_max: int = CONNECTIONS_MAX_DEFAULT  # over all routes


def parse_routes(text: str) -> RouteTable:
    """Read the file's text; raises :class:`IllegalRoutes` and gives no half table."""
    if len(text) > FILE_BYTES_MAX:
        raise IllegalRoutes(f"the file is larger than {FILE_BYTES_MAX} bytes")
    try:
        document = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise IllegalRoutes(f"not JSON: {error}") from error
    top = _members(
        document,
        "the file",
        required={"schema", "version", "routes"},
        optional={"connections_max", "login_sockets"},
    )
    if top["schema"] != SCHEMA or type(top["schema"]) is not int:
        raise IllegalRoutes(f"schema: {top['schema']!r} is not {SCHEMA}")
    routes = _list(top["routes"], "routes", count_max=ROUTES_MAX, item=_route)
    _require_distinct((route.name for route in routes), "the route name {} is used twice")
    _require_distinct(
        (address for route in routes for address in route.listen), "two routes listen on {}"
    )
    return RouteTable(
        version=_int(top["version"], "version", low=0, high=VERSION_MAX),
        routes=routes,
        login_sockets=_list(
            top.get("login_sockets", []),
            "login_sockets",
            count_max=LOGIN_SOCKETS_MAX,
            item=_login_socket,
        ),
        connections_max=_int(
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
    members = _members(
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
        listen=_list(members["listen"], f"{where}.listen", count_max=LISTEN_MAX, item=_pair),
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
    return _list(
        members.get(name, []), f"{where}.{name}", count_max=BACKENDS_MAX, item=_host_and_port
    )


def _options(value: object, where: str) -> RouteOptions:
    defaults = RouteOptions()
    members = {**vars(defaults), **_members(value, where, optional=set(vars(defaults)))}
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
        else _host(members["bind_source"], f"{where}.bind_source"),
        connect_timeout_s=timeout_s,
        connections_max=_int(
            members["connections_max"], f"{where}.connections_max", low=1, high=CONNECTIONS_MAX
        ),
        buffer_bytes=_int(
            members["buffer_bytes"],
            f"{where}.buffer_bytes",
            low=BUFFER_BYTES_MIN,
            high=BUFFER_BYTES_MAX,
        ),
        tls=_tls(members["tls"], f"{where}.tls"),
        auth=_auth(members["auth"], f"{where}.auth"),
        admitted=_admitted(members["admitted"], f"{where}.admitted"),
        refused_writes=_list(
            members["refused_writes"],
            f"{where}.refused_writes",
            count_max=COMMANDS_MAX,
            item=_word,
        )
        if members["refused_writes"] != ()
        else (),
        cluster_config=_cluster_config(members["cluster_config"], f"{where}.cluster_config"),
        serverless=parse_serverless(members["serverless"], f"{where}.serverless"),
    )


def _tls(value: object, where: str) -> TlsOptions | None:
    if value is None:
        return None
    members = _members(value, where, required={"mode", "certificate_path", "key_path"})
    modes = {mode.value: mode for mode in TlsMode}
    if not isinstance(members["mode"], str) or members["mode"] not in modes:
        raise IllegalRoutes(f"{where}.mode: {members['mode']!r} is none of {sorted(modes)}")
    return TlsOptions(
        mode=modes[members["mode"]],
        certificate_path=_path(members["certificate_path"], f"{where}.certificate_path"),
        key_path=_path(members["key_path"], f"{where}.key_path"),
    )


def _admitted(value: object, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    return _list(value, where, count_max=NETWORKS_MAX, item=_network)


def _network(value: object, where: str) -> str:
    try:
        if isinstance(value, str):
            return str(ipaddress.ip_network(value))
    except ValueError:
        pass
    raise IllegalRoutes(f"{where}: {value!r} is not a network")


def _auth(value: object, where: str) -> AuthOptions | None:
    if value is None:
        return None
    members = _members(value, where, optional={"optional_token_sha256s", "iam"})
    return AuthOptions(
        optional_token_sha256s=_list(
            members.get("optional_token_sha256s", []),
            f"{where}.optional_token_sha256s",
            count_max=TOKENS_MAX,
            item=_sha256,
        ),
        iam=_iam(members.get("iam"), f"{where}.iam"),
    )


def _iam(value: object, where: str) -> IamOptions | None:
    if value is None:
        return None
    members = _members(
        value,
        where,
        required={"cache_name", "account", "region", "keys_path", "users"},
        optional={"serverless", "session_s_max"},
    )
    serverless = members.get("serverless", False)
    if type(serverless) is not bool:
        raise IllegalRoutes(f"{where}.serverless: not true or false")
    return IamOptions(
        cache_name=_word(members["cache_name"], f"{where}.cache_name"),
        account=_word(members["account"], f"{where}.account"),
        region=_word(members["region"], f"{where}.region"),
        keys_path=_path(members["keys_path"], f"{where}.keys_path"),
        users=_list(members["users"], f"{where}.users", count_max=IAM_USERS_MAX, item=_iam_user),
        serverless=serverless,
        session_s_max=_int(
            members.get("session_s_max", SESSION_S_MAX),
            f"{where}.session_s_max",
            low=1,
            high=SESSION_S_MAX,
        ),
    )


def _iam_user(value: object, where: str) -> IamUser:
    members = _members(value, where, required={"user_name", "password"})
    return IamUser(
        user_name=_word(members["user_name"], f"{where}.user_name"),
        password=_word(members["password"], f"{where}.password"),
    )


def _login_socket(value: object, where: str) -> LoginSocket:
    members = _members(value, where, required={"socket_path", "users"})
    return LoginSocket(
        socket_path=_path(members["socket_path"], f"{where}.socket_path"),
        users=_list(
            members["users"], f"{where}.users", count_max=LOGIN_USERS_MAX, item=_login_user
        ),
    )


def _login_user(value: object, where: str) -> LoginUser:
    members = _members(value, where, required={"user_name", "sha256s"})
    return LoginUser(
        user_name=_word(members["user_name"], f"{where}.user_name"),
        sha256s=_list(members["sha256s"], f"{where}.sha256s", count_max=TOKENS_MAX, item=_sha256),
    )


def _word(value: object, where: str) -> str:
    # The value is not told: it may be a secret.
    if not isinstance(value, str) or not 1 <= len(value) <= USER_NAME_CHARS_MAX:
        raise IllegalRoutes(f"{where}: not a text of 1 to {USER_NAME_CHARS_MAX} characters")
    return value


def _sha256(value: object, where: str) -> str:
    if not isinstance(value, str) or not _SHA256.fullmatch(value):
        raise IllegalRoutes(f"{where}: not a SHA-256 in lower-case hex")
    return value


def _path(value: object, where: str) -> str:
    if (
        not isinstance(value, str)
        or not value.startswith("/")
        or "\0" in value
        or len(value) > PATH_CHARS_MAX
    ):
        raise IllegalRoutes(f"{where}: {value!r} is not an absolute path")
    return value


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
    members = _members(
        value,
        where,
        required={"host", "port", "reads_port", "node_ids", "shards"},
        optional={"ecpu_per_s", *_RARE},
    )
    ids = _list(members["node_ids"], f"{where}.node_ids", count_max=2, count_min=2, item=_node_id)
    ecpu = members.get("ecpu_per_s")
    return ServerlessOptions(
        host=_word(members["host"], f"{where}.host"),
        port=_port(members["port"], f"{where}.port"),
        reads_port=_port(members["reads_port"], f"{where}.reads_port"),
        node_ids=(ids[0], ids[1]),
        shards=_list(
            members["shards"], f"{where}.shards", count_max=SHARDS_MAX, count_min=1, item=_shard
        ),
        ecpu_per_s=None
        if ecpu is None
        else _int(ecpu, f"{where}.ecpu_per_s", low=1, high=ECPU_PER_S_MAX),
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
    members = _members(value, where, required={"slots", "primary"}, optional={"replicas"})
    return ShardOptions(
        slots=_list(members["slots"], f"{where}.slots", count_max=SLOT_COUNT, item=_slots),
        primary=_pair(members["primary"], f"{where}.primary"),
        replicas=_list(
            members.get("replicas", []), f"{where}.replicas", count_max=BACKENDS_MAX, item=_pair
        ),
    )


def _slots(value: object, where: str) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise IllegalRoutes(f"{where}: not a [first, last] pair")
    first = _int(value[0], where, low=0, high=SLOT_COUNT - 1)
    return first, _int(value[1], where, low=first, high=SLOT_COUNT - 1)


def _node_id(value: object, where: str) -> str:
    if not isinstance(value, str) or not _NODE_ID.fullmatch(value):
        raise IllegalRoutes(f"{where}: not 40 hex digits")
    return value


def _pair(value: object, where: str) -> Address:
    if not isinstance(value, list) or len(value) != 2:
        raise IllegalRoutes(f"{where}: not a [host, port] pair")
    return Address(_host(value[0], where), _port(value[1], where))


def _host_and_port(value: object, where: str) -> Address:
    members = _members(value, where, required={"host", "port"})
    return Address(_host(members["host"], f"{where}.host"), _port(members["port"], f"{where}.port"))


def _host(value: object, where: str) -> str:
    if isinstance(value, str):
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                socket.inet_pton(family, value)
            except (OSError, ValueError):  # ValueError: a NUL inside
                continue
            return value
    raise IllegalRoutes(f"{where}: {value!r} is not an IP address")


def _port(value: object, where: str) -> int:
    return _int(value, where, low=1, high=65535)


def _int(value: object, where: str, *, low: int, high: int) -> int:
    if type(value) is not int or not low <= value <= high:
        raise IllegalRoutes(f"{where}: {value!r} is not a whole number from {low} to {high}")
    return value


def _members(
    value: object,
    where: str,
    *,
    required: frozenset[str] | set[str] = frozenset(),
    optional: frozenset[str] | set[str] = frozenset(),
) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise IllegalRoutes(f"{where}: not an object")
    if missing := required - value.keys():
        raise IllegalRoutes(f"{where}: {', '.join(sorted(missing))} missing")
    if unknown := value.keys() - required - optional:
        raise IllegalRoutes(f"{where}: {', '.join(sorted(unknown))} not known here")
    return value


def _list(
    value: object,
    where: str,
    *,
    count_max: int,
    item: Callable[[object, str], _T],
    count_min: int = 0,
) -> tuple[_T, ...]:
    if not isinstance(value, list) or not count_min <= len(value) <= count_max:
        raise IllegalRoutes(f"{where}: not a list of {count_min} to {count_max} items")
    return tuple(item(entry, f"{where}[{number}]") for number, entry in enumerate(value))


def _require_distinct(values: Iterable[object], message: str) -> None:
    seen: set[object] = set()
    for value in values:
        if value in seen:
            raise IllegalRoutes(message.format(value))
        seen.add(value)
