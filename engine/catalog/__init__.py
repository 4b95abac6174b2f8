"""The service's catalogue: node types, engine versions, parameter families, limits, events.

The figures are data files (``data/``); the modules beside them give each table its types and
the rules that read it. Here belongs what is true of the service for every account. What a
customer has made of it (a parameter group, a cluster) does not.
"""

from cachefleet.engine.catalog.catalog import Catalog
from cachefleet.engine.catalog.events import EventTemplate
from cachefleet.engine.catalog.families import (
    DefaultGroup,
    NodeTypeParameter,
    Parameter,
    ParameterFamily,
)
from cachefleet.engine.catalog.node_types import NodeType
from cachefleet.engine.catalog.versions import EngineVersion

__all__ = [
    "Catalog",
    "DefaultGroup",
    "EngineVersion",
    "EventTemplate",
    "NodeType",
    "NodeTypeParameter",
    "Parameter",
    "ParameterFamily",
]
