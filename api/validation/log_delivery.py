"""Requests for the delivery of logs: each check refuses as the service does.

Whether a log group or delivery stream is there is not asked: the service accepts one that is not,
and shows the failure in the configuration's status.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cachefleet.api.validation.features import is_given
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import Catalog
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import log_delivery
from cachefleet.provisioner.state.log_delivery import WISHES, Entry
from cachefleet.provisioner.state.tables import CacheCluster, ReplicationGroup

FEATURES = {"slow-log": "slow_log_delivery", "engine-log": "engine_log_delivery"}
# DestinationType -> (member of DestinationDetails, its own member, what it may be).
DESTINATIONS: Mapping[str, tuple[str, str, re.Pattern[str]]] = {
    "cloudwatch-logs": (
        "CloudWatchLogsDetails",
        "LogGroup",
        re.compile(r"[\w./#-]{1,512}", re.ASCII),
    ),
    "kinesis-firehose": (
        "KinesisFirehoseDetails",
        "DeliveryStream",
        re.compile(r"[\w.-]{1,64}", re.ASCII),
    ),
}


def check_log_delivery(
    catalog: Catalog,
    given: Sequence[Mapping[str, Any]] | None,
    *,
    engine: Engine,
    engine_version: str,
    now: Sequence[Entry] = (),
) -> dict[str, Entry | None]:
    """Return what is wanted by log type, None for what is to be turned off.

    A request for a log type that is delivered already may name only what changes.
    """
    wanted: dict[str, Entry | None] = {}
    before = {entry["LogType"]: entry for entry in now}
    for request in given or ():
        log_type = request.get("LogType")
        if not log_type:
            raise wrong_combination("LogType must be given for each log delivery configuration.")
        if log_type in wanted:
            raise wrong_value(f"The log type {log_type} is configured more than once.")
        _check_engine(catalog, log_type, engine, engine_version)
        if request.get("Enabled") is False:
            wanted[log_type] = None
            continue
        wanted[log_type] = _merged(request, before.get(log_type))
    return wanted


def _check_engine(catalog: Catalog, log_type: str, engine: Engine, version: str) -> None:
    if engine is Engine.MEMCACHED or not catalog.supports(FEATURES[log_type], engine, version):
        raise wrong_combination(
            f"The log type {log_type} is not supported for engine {engine.value} version {version}."
        )


def _merged(request: Mapping[str, Any], before: Entry | None) -> Entry:
    entry: dict[str, Any] = {name: request.get(name) or (before or {}).get(name) for name in WISHES}
    kind = request.get("DestinationType")
    if before is not None and kind not in (None, before["DestinationType"]):
        entry["DestinationDetails"] = request.get("DestinationDetails")
    missing = [name for name in WISHES if not entry[name]]
    if missing:
        raise wrong_combination(
            f"{', '.join(missing)} must be given to deliver the log type {request['LogType']}."
        )
    _check_details(entry["DestinationType"], entry["DestinationDetails"])
    return entry


def _check_details(kind: str, details: Mapping[str, Any]) -> None:
    member, name, pattern = DESTINATIONS[kind]
    others = [other for other, _, _ in DESTINATIONS.values() if other != member]
    if not is_given(details, member) or any(is_given(details, other) for other in others):
        raise wrong_combination(f"DestinationDetails must have {member} alone for {kind}.")
    place = details[member].get(name) or ""
    if not pattern.fullmatch(place):
        raise wrong_value(f"The parameter {name} is not valid: {place[:100]!r}.")


def new_log_delivery(
    catalog: Catalog, params: Mapping[str, Any], *, engine: Engine, engine_version: str
) -> list[dict[str, Any]]:
    """Return the configurations of a cache that is to be created, on their way."""
    wanted = check_log_delivery(
        catalog,
        params.get("LogDeliveryConfigurations"),
        engine=engine,
        engine_version=engine_version,
    )
    return log_delivery.changed((), wanted)[0]


def log_delivery_changes(
    catalog: Catalog, row: ReplicationGroup | CacheCluster, params: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the columns that change, and what is pending; both empty where nothing changes.

    Raises:
        Fault: a configuration is wrong, or is to wait: the service makes it at once or not.
    """
    given = params.get("LogDeliveryConfigurations")
    if not given:
        return {}, {}
    if not params.get("ApplyImmediately"):
        raise wrong_value("ApplyImmediately must be true to modify log delivery configurations.")
    wanted = check_log_delivery(
        catalog,
        given,
        engine=Engine(row.engine),
        engine_version=row.engine_version,
        now=row.log_delivery,
    )
    entries, pending = log_delivery.changed(row.log_delivery, wanted)
    if entries == row.log_delivery:
        return {}, {}
    return {"log_delivery": entries}, {log_delivery.PENDING: pending or None}
