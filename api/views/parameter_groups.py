"""Parameter groups and their parameters as the service shows them. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cachefleet.engine.catalog import NodeTypeParameter, Parameter, ParameterFamily
from cachefleet.provisioner.state import parameters
from cachefleet.provisioner.state.global_groups import PARAMETERS_PREFIX
from cachefleet.provisioner.state.parameter_groups import Group
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.tables import ParameterGroup

USER = "user"
SYSTEM = "system"
ENGINE_DEFAULT = "engine-default"
SOURCES = (USER, SYSTEM, ENGINE_DEFAULT)

_PUNCTUATION = re.compile(r"[-_]")


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a listing of parameters; ``view`` is a ``Parameter`` or, where it has a value for
    each node type, a ``CacheNodeTypeSpecificParameter``."""

    name: str
    source: str
    by_node_type: bool
    view: Mapping[str, Any]

    @property
    def key(self) -> tuple[str, str]:
        """What listings are sorted by: the name without punctuation, then the name."""
        return _PUNCTUATION.sub("", self.name), self.name


def parameter_group_view(group: Group, scope: Scope) -> dict[str, Any]:
    """Return a ``CacheParameterGroup``."""
    return {
        "CacheParameterGroupName": group.name,
        "CacheParameterGroupFamily": group.family,
        "Description": group.description,
        "IsGlobal": group.name.startswith(PARAMETERS_PREFIX),
        "ARN": scope.arn(ParameterGroup.arn_kind, group.name),
    }


def parameter_rows(
    family: ParameterFamily,
    *,
    group: Group | None = None,
    attached: bool = False,
) -> list[Row]:
    """Return all parameters of *family*, as *group* has them, in order.

    *attached* says whether a cache uses the group.
    """
    rows = [_row(family, one, group=group, attached=attached) for one in family.parameters]
    rows += [_node_type_row(one) for one in family.node_type_parameters]
    return sorted(rows, key=lambda row: row.key)


def select_source(rows: list[Row], source: str | None) -> list[Row]:
    """Return the rows that a ``Source`` filter lets through.

    No row says ``engine-default`` of itself; the filter means what nobody changed.
    """
    if not source:
        return rows
    wanted = USER if source == USER else SYSTEM
    return [row for row in rows if row.source == wanted]


def listing_view(rows: list[Row]) -> dict[str, Any]:
    """Return the two lists of a listing of parameters."""
    return {
        "Parameters": [row.view for row in rows if not row.by_node_type],
        "CacheNodeTypeSpecificParameters": [row.view for row in rows if row.by_node_type],
    }


def _row(
    family: ParameterFamily, parameter: Parameter, *, group: Group | None, attached: bool
) -> Row:
    value, source, is_modifiable = parameter.value, SYSTEM, parameter.is_modifiable
    if group is not None:
        value = group.values.get(parameter.name, value)
        if not group.is_default:
            source = USER if parameter.name in group.values else SYSTEM
            is_modifiable = parameters.is_modifiable(family, parameter, attached=attached)
    view = _common(parameter, source) | {
        "IsModifiable": is_modifiable,
        # Absent where empty, as the service does for notify-keyspace-events.
        "ParameterValue": value or None,
    }
    return Row(parameter.name, source, False, view)


def _node_type_row(parameter: NodeTypeParameter) -> Row:
    view = _common(parameter, SYSTEM) | {
        "IsModifiable": parameter.is_modifiable,
        "CacheNodeTypeSpecificValues": [
            {"CacheNodeType": node_type, "Value": value}
            for node_type, value in parameter.values.items()
        ],
    }
    return Row(parameter.name, SYSTEM, True, view)


def _common(parameter: Parameter | NodeTypeParameter, source: str) -> dict[str, Any]:
    return {
        "ParameterName": parameter.name,
        "Description": parameter.description,
        "Source": source,
        "DataType": parameter.data_type,
        "AllowedValues": parameter.allowed_values or None,
        "MinimumEngineVersion": parameter.minimum_engine_version,
        "ChangeType": parameter.change_type,
    }
