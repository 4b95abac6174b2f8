"""What two cachefleets tell each other of a global datastore that has members in both.

The *record* says who is a member and who leads; it is written by the cachefleet of the region that
leads, and everybody has a copy. A *card* is what a cachefleet says of a group of its own, and
nobody else of it. Values only: who may say what is decided by :mod:`cachefleet.provisioner.planning
.peers`. What comes from outside is checked by its shape here, and refused as a whole.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

MEMBERS_MAX = 8
SHARDS_MAX = 500
TOKENS_MAX = 4
PARAMETERS_MAX = 1000

Name = Annotated[str, Field(max_length=255)]
Region = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,32}$")]
Word = Annotated[str, Field(max_length=64)]
FleetId = Annotated[str, Field(min_length=1, max_length=32)]
Slots = Annotated[str, Field(max_length=65_536)]
Pem = Annotated[str, Field(max_length=65_536)]
Endpoint = tuple[Annotated[str, Field(min_length=1, max_length=255)], int]


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)


class CardShard(_Value):
    """A shard, as every region has it. ``replicas`` is how many it has in this one.

    In cluster mode, ``endpoint`` is where its stream is read by the feeds of others, and ``head``
    as whom its own feed shows itself to what it reads from.
    """

    node_group_id: Word
    slots: Slots
    replicas: int = 0
    endpoint: Endpoint | None = None
    head: Endpoint | None = None


class Card(_Value):
    """A group of another cachefleet. The names are those of the columns of replication groups."""

    status: Word
    role: Word | None
    automatic_failover: Word
    node_type: Word
    engine: Word
    engine_version: Word
    cluster_enabled: bool
    auth_token_enabled: bool
    transit_encryption_enabled: bool
    at_rest_encryption_enabled: bool
    node_groups: Annotated[tuple[CardShard, ...], Field(max_length=SHARDS_MAX)]
    endpoint: Endpoint | None = None  # where others follow it, without cluster mode
    head: Name | None = None  # the address from which its primary node follows others
    done: Word = ""  # the token of what it was last asked to do, and began
    authority: Pem = ""  # who vouches for its nodes, in PEM, with encryption in transit


class AskedShards(_Value):
    """Other shards: the slots of each by NodeGroupId, and what new ones are made of."""

    layout: Annotated[dict[Word, Slots], Field(max_length=SHARDS_MAX)]
    plans: Annotated[tuple[dict[Word, Any], ...], Field(max_length=SHARDS_MAX)] = ()


class Asked(_Value):
    """What the cachefleet of a member is to do with it, once for each token.

    ``rests``: it is not fed until it is asked something else.
    """

    token: Word
    changes: dict[Word, Any] = Field(default_factory=dict)
    leave: bool = False
    rests: bool = False
    shards: AskedShards | None = None


class PeeredMember(_Value):
    """A member, by its region. ``card`` is None where its cachefleet has said nothing of it."""

    region: Region
    group_name: Name
    role: Literal["PRIMARY", "SECONDARY"]
    status: Word
    fleet: FleetId
    asked: Asked | None = None
    card: Card | None = None


class PeeredRecord(_Value):
    """Who is a member, and who leads, as of *epoch*: it grows whenever another region leads.

    *handing* is set while the region that led has yet to make sure that nobody writes there.
    """

    epoch: Annotated[int, Field(ge=0)]
    description: Annotated[str, Field(max_length=4096)]
    status: Word
    handing: bool = False
    members: Annotated[tuple[PeeredMember, ...], Field(min_length=1, max_length=MEMBERS_MAX)]

    @property
    def leader(self) -> PeeredMember:
        """Return the member that leads."""
        return next(member for member in self.members if member.role == "PRIMARY")

    def model_post_init(self, context: Any, /) -> None:
        """Refuse a record in which not exactly one leads, or a region is named twice."""
        if sum(member.role == "PRIMARY" for member in self.members) != 1:
            raise ValueError("exactly one member leads")
        if len({member.region for member in self.members}) != len(self.members):
            raise ValueError("a region has one member")


class Parameters(_Value):
    """The values of a parameter group that differ from its family's."""

    family: Word
    values: Annotated[
        dict[Name, Annotated[str, Field(max_length=65_536)]], Field(max_length=PARAMETERS_MAX)
    ]


class Told(_Value):
    """What a cachefleet says of a global datastore: its copy of the record, if it has one, the
    cards of its own members by region, and the parameters of the one that leads, if it has that.
    """

    fleet: FleetId
    record: PeeredRecord | None = None
    cards: Annotated[dict[Region, Card], Field(max_length=MEMBERS_MAX)] = Field(
        default_factory=dict
    )
    parameters: Parameters | None = None


class Lead(_Value):
    """What a new secondary takes over from the group that leads; secrets stay out of its repr."""

    engine: Word
    engine_version: Word
    node_type: Word
    port: int
    automatic_failover: Word
    cluster_enabled: bool
    at_rest_encryption_enabled: bool
    transit_encryption_enabled: bool
    transit_encryption_mode: Word | None
    auth_token_sha256s: Annotated[tuple[str, ...], Field(repr=False, max_length=TOKENS_MAX)]
    replication_secret: Annotated[str, Field(repr=False, max_length=64)]
    node_groups: Annotated[tuple[CardShard, ...], Field(max_length=SHARDS_MAX)]
    endpoint: Endpoint | None
    family: Word
    parameters: dict[Word, Any]
    authority: Pem = ""

    @property
    def is_reachable(self) -> bool:
        """Tell whether it is known where it is followed, and who vouches for it."""
        if self.transit_encryption_enabled and not self.authority:
            return False
        if self.cluster_enabled:
            return all(shard.endpoint is not None for shard in self.node_groups)
        return self.endpoint is not None


class Joined(_Value):
    """The answer to a group that wants to join: what it takes over, and what it belongs to."""

    told: Told
    created_at: datetime
    lead: Lead
