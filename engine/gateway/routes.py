"""What the gateway listens on and where each connection goes: frozen values. Pure.

``routes_file`` reads and writes them. Hosts are IP literals, because resolving names would put a
blocking step, and a second opinion about where an endpoint is, into the data path.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import Final, NamedTuple

NAME_CHARS_MAX: Final = 200
CONNECTIONS_MAX_DEFAULT: Final = 65_000  # what the engines themselves take: maxclients
CONNECT_TIMEOUT_S_DEFAULT: Final = 2.0
BUFFER_BYTES_DEFAULT: Final = 256 * 1024  # unsent bytes a direction before reading stops
SESSION_S_MAX: Final = 12 * 3600  # how long a token opens a connection


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
    backend_ca: str = ""  # backends are reached by TLS, if this vouches for them; PEM


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
