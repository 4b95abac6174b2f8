"""Parameter families: which parameters there are, their defaults, what values they take.

Pure, once the tables are read. A value is refused here only for what the table says of it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachefleet.engine.catalog.documents import Document
from cachefleet.engine.catalog.node_types import NodeType
from cachefleet.engine.types import Engine

RENAME_COMMANDS = "rename-commands"
RENAMED_LENGTH_MAX = 20
EVENT_FLAGS = frozenset("KEg$lshzxeAtdmn")
CLUSTER_SUFFIX = ".cluster.on"


@dataclass(frozen=True, kw_only=True, slots=True)
class Parameter:
    """One row of ``DescribeCacheParameters``; *value* is the family's default."""

    name: str
    value: str
    data_type: str
    allowed_values: str
    is_modifiable: bool
    minimum_engine_version: str
    change_type: str
    description: str

    def allows(self, value: str) -> bool:
        """Whether the parameter can take *value*, by its type and its allowed values."""
        if self.name == RENAME_COMMANDS:
            return _allows_renames(value, frozenset(self.allowed_values.split(",")))
        if self.name == "notify-keyspace-events":
            return set(value) <= EVENT_FLAGS
        if not self.allowed_values:
            return True
        return any(
            _piece_allows(piece, value, self.data_type) for piece in self.allowed_values.split(",")
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeTypeParameter:
    """A parameter whose value the node type decides; *values* are by node type name."""

    name: str
    data_type: str
    allowed_values: str
    is_modifiable: bool
    minimum_engine_version: str
    change_type: str
    description: str
    column: str
    values: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class DefaultGroup:
    """A parameter group that every account has; *overrides* differ from the family."""

    name: str
    description: str
    overrides: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class ParameterFamily:
    """One family; parameters are sorted as the service lists them."""

    name: str
    engine: Engine
    default_groups: tuple[DefaultGroup, ...]
    creation_time_parameters: frozenset[str]
    parameters: tuple[Parameter, ...]
    node_type_parameters: tuple[NodeTypeParameter, ...]

    def parameter(self, name: str) -> Parameter | None:
        """A parameter by name."""
        return next((row for row in self.parameters if row.name == name), None)

    def default_group(self, *, cluster_enabled: bool) -> DefaultGroup | None:
        """The default group for the mode; families of old have none for cluster mode."""
        name = f"default.{self.name}{CLUSTER_SUFFIX if cluster_enabled else ''}"
        return next((group for group in self.default_groups if group.name == name), None)


def read_family(table: Document, node_types: Mapping[str, NodeType]) -> ParameterFamily:
    """One family with the values of its node-type parameters filled in."""
    engine = Engine(table["engine"])
    parameters = []
    for values in table["parameters"]:
        row = dict(zip(table["columns"], values, strict=True))
        parameters.append(Parameter(value=row["ParameterValue"], **_common(row)))
    by_node_type = []
    for values in table["node_type_parameters"]:
        row = dict(zip(table["node_type_columns"], values, strict=True))
        column = row["node_types_column"]
        by_node_type.append(
            NodeTypeParameter(
                column=column,
                values={
                    name: str(getattr(node_type, column))
                    for name, node_type in sorted(node_types.items())
                    if node_type.runs(engine)
                },
                **_common(row),
            )
        )
    return ParameterFamily(
        name=table["family"],
        engine=engine,
        default_groups=tuple(
            DefaultGroup(name=name, description=row["Description"], overrides=row["overrides"])
            for name, row in table["default_groups"].items()
        ),
        creation_time_parameters=frozenset(table["creation_time_parameters"]),
        parameters=tuple(sorted(parameters, key=lambda row: _sort_key(row.name))),
        node_type_parameters=tuple(sorted(by_node_type, key=lambda row: _sort_key(row.name))),
    )


def resolve_parameters(
    family: ParameterFamily,
    user_values: Mapping[str, str],
    node_type: NodeType,
    *,
    cluster_enabled: bool,
) -> dict[str, str]:
    """Every parameter with the value in force on *node_type*.

    Weakest first: the family's default, what the node type decides, the default group of the
    mode, and the customer's own values.
    """
    values = {row.name: row.value for row in family.parameters}
    for row in family.node_type_parameters:
        values[row.name] = row.values.get(node_type.name) or str(getattr(node_type, row.column))
    if "maxclients" in values:
        values["maxclients"] = str(min(int(values["maxclients"]), node_type.maxclients))
    group = family.default_group(cluster_enabled=cluster_enabled)
    if group is not None:
        values.update(group.overrides)
    values.update(user_values)
    return values


def _common(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": row["ParameterName"],
        "data_type": row["DataType"],
        "allowed_values": row["AllowedValues"],
        "is_modifiable": row["IsModifiable"],
        "minimum_engine_version": row["MinimumEngineVersion"],
        "change_type": row["ChangeType"],
        "description": row["Description"],
    }


def _sort_key(name: str) -> str:
    # The service's own order: as if the names had neither dashes nor underscores.
    return name.replace("-", "").replace("_", "")


def _piece_allows(piece: str, value: str, data_type: str) -> bool:
    """``n-m`` and ``n-`` are ranges, ``-`` any integer, everything else is itself."""
    bounds = re.fullmatch(r"(-?\d+)-(\d+)?", piece)
    if piece != "-" and bounds is None:
        return value == piece
    if not re.fullmatch(r"-?\d+(\.\d+)?" if data_type == "float" else r"-?\d+", value):
        return False
    if bounds is None:
        return True
    number = float(value)
    return float(bounds[1]) <= number and (bounds[2] is None or number <= float(bounds[2]))


def _allows_renames(value: str, eligible: frozenset[str]) -> bool:
    words = value.split()
    if len(words) % 2:
        return False
    old, new = [word.upper() for word in words[::2]], words[1::2]
    fit = all(word.isascii() and word.isalnum() and len(word) <= RENAMED_LENGTH_MAX for word in new)
    return fit and set(old) <= eligible and len(set(old)) == len(old)
