"""What requests for serverless caches may say; refuses what the service refuses."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cachefleet.api.validation.identifiers import check_identifier
from cachefleet.api.validation.refusals import wrong_combination, wrong_value
from cachefleet.engine.catalog import Catalog, EngineVersion
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import subnets

NAME_CHARS_MAX: Final = 40
SNAPSHOT_NAME_CHARS_MAX: Final = 255
DESCRIPTION_CHARS_MAX: Final = 255
DATA_GB: Final = (1, 5_000)
ECPU_PER_S: Final = (1_000, 15_000_000)
RETENTION_DAYS_MAX: Final = 35
SUBNETS: Final = (2, 3)
DAILY_TIME_DEFAULT: Final = "03:00"
# What a major version is called, and what it means: the newest of these families.
MAJORS: Final[Mapping[Engine, tuple[str, ...]]] = {
    Engine.VALKEY: ("7", "8"),
    Engine.REDIS: ("7",),
    Engine.MEMCACHED: ("1.6",),
}
INTEGRATIONS: Final = ("dynamodb",)
S3_ARN: Final = "arn:aws:s3:::"
SNAPSHOTS_MAX: Final = 100  # that one cache is restored from
RDB_VERSION_MIN: Final = {Engine.REDIS: (5, 0), Engine.VALKEY: (7, 2)}

_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]", re.ASCII)


def check_name(name: str) -> str:
    """Return a cache's name as it is stored."""
    return check_identifier("ServerlessCacheName", name, chars_max=NAME_CHARS_MAX)


def check_snapshot_name(parameter: str, name: str) -> str:
    """Return a snapshot's name as it is stored."""
    return check_identifier(parameter, name, chars_max=SNAPSHOT_NAME_CHARS_MAX)


def check_engine(text: str) -> Engine:
    """Return the engine, which may be written in any case."""
    try:
        return Engine(text.lower())
    except ValueError:
        raise wrong_value(
            f"Invalid engine {text}. Must be one of: valkey, redis, memcached."
        ) from None


def resolve_major(catalog: Catalog, engine: Engine, major: str | None) -> EngineVersion:
    """Return the newest version of a major one; the newest of all without one."""
    known = MAJORS[engine]
    wanted = major or known[-1]
    if wanted not in known:
        raise wrong_value(
            f"Invalid MajorEngineVersion {wanted} for engine {engine.value}. "
            f"Must be one of: {', '.join(known)}."
        )
    versions = [
        version
        for version in catalog.engine_versions(engine)
        if version.creatable and major_of(engine, version.version) == wanted
    ]
    return max(versions, key=lambda version: version.numbers)


def major_of(engine: Engine, version: str) -> str:
    """Return the major version that a version belongs to."""
    parts = version.split(".")
    return ".".join(parts[:2]) if engine is Engine.MEMCACHED else parts[0]


def check_description(text: str | None) -> str:
    """Return the description, empty where there is none."""
    if text and len(text) > DESCRIPTION_CHARS_MAX:
        raise wrong_value(f"Description must have at most {DESCRIPTION_CHARS_MAX} characters.")
    return text or ""


def check_limits(given: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return CacheUsageLimits as it is stored: only what is set. Zero is as good as nothing."""
    return merge_limits({}, given or {})


def merge_limits(present: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return *present* with what is *given*: zero removes a limit, what is left out stays."""
    data = dict(given.get("DataStorage") or {})
    unit = data.pop("Unit", None)
    if unit is not None and unit != "GB":
        raise wrong_value("Invalid value for DataStorage unit. Must be GB.")
    merged = {
        "DataStorage": _merged("DataStorage", present, data, DATA_GB),
        "ECPUPerSecond": _merged(
            "ECPUPerSecond", present, dict(given.get("ECPUPerSecond") or {}), ECPU_PER_S
        ),
    }
    if merged["DataStorage"]:
        merged["DataStorage"]["Unit"] = "GB"
    return {name: value for name, value in merged.items() if value}


def _merged(
    what: str, present: Mapping[str, Any], given: Mapping[str, Any], bounds: tuple[int, int]
) -> dict[str, Any]:
    kept = {k: v for k, v in (present.get(what) or {}).items() if k in ("Minimum", "Maximum")}
    for name, value in given.items():
        if value is None:
            continue
        if value != 0 and not bounds[0] <= value <= bounds[1]:
            raise wrong_value(
                f"Invalid value for {what} limit. Must be between {bounds[0]} and {bounds[1]}. "
                "You can set the value to zero to remove the limit."
            )
        kept[name] = value
    kept = {name: value for name, value in kept.items() if value}
    if kept.get("Minimum", 0) > kept.get("Maximum", bounds[1]):
        raise wrong_value(f"The minimum of {what} must not be larger than its maximum.")
    return kept


def says_nothing(limits: Mapping[str, Any] | None) -> bool:
    """Tell whether CacheUsageLimits asks for nothing."""
    if not limits:
        return True
    parts = [limits.get("DataStorage") or {}, limits.get("ECPUPerSecond") or {}]
    return all(part.get(name) is None for part in parts for name in ("Minimum", "Maximum"))


def check_retention(days: int | None) -> int:
    """Return for how many days automatic snapshots are kept; 0 is none."""
    if days is not None and not 0 <= days <= RETENTION_DAYS_MAX:
        raise wrong_value(f"SnapshotRetentionLimit must be within 0 and {RETENTION_DAYS_MAX} days.")
    return days or 0


def check_daily_time(text: str | None) -> str:
    """Return when automatic snapshots are taken, ``HH:MM`` in UTC."""
    if text is not None and not _TIME.fullmatch(text):
        raise wrong_value(
            f"Invalid DailySnapshotTime {text}. It must be of the form HH:MM, in UTC."
        )
    return text or DAILY_TIME_DEFAULT


def window_of(daily_time: str) -> str:
    """Return the snapshot window that begins at a time of day and lasts an hour."""
    hour, minute = daily_time.split(":")
    return f"{daily_time}-{(int(hour) + 1) % 24:02}:{minute}"


def refuse_users_of_memcached(engine: Engine, params: Mapping[str, Any]) -> None:
    """Refuse the user groups that memcached never has."""
    if engine is Engine.MEMCACHED and params.get("UserGroupId"):
        raise wrong_combination("User groups are not supported for engine memcached.")


def check_seeds(engine: Engine, arns: Sequence[str]) -> None:
    """Refuse too many snapshots to restore, and of memcached more than one of its own."""
    if len(arns) > SNAPSHOTS_MAX or len(set(arns)) < len(arns):
        raise wrong_value(
            f"SnapshotArnsToRestore must name at most {SNAPSHOTS_MAX} different snapshots."
        )
    foreign = any(arn.startswith(S3_ARN) for arn in arns)
    if engine is Engine.MEMCACHED and (foreign or len(arns) > 1):
        raise wrong_combination(
            "A memcached cache is restored from one snapshot of a serverless memcached cache."
        )


def refuse_valkey_9_features(params: Mapping[str, Any]) -> None:
    """Refuse what the service has with Valkey 9 and later only, which no cache here is of."""
    if params.get("ConnectionType") == "public":
        raise wrong_combination("ConnectionType public requires Valkey 9 or above.")
    for one in params.get("Integrations") or ():
        kind = one.get("IntegrationType")
        if kind not in INTEGRATIONS:
            raise wrong_value(f"Invalid IntegrationType {kind}. Must be dynamodb.")
        raise wrong_combination("DynamoDB integration requires Valkey 9 or above.")


def check_subnets(placed: Sequence[Mapping[str, str]], ids: Sequence[str]) -> None:
    """Refuse subnets that a serverless cache cannot be in."""
    bad = subnets.invalid_ids(ids)
    if bad:
        raise wrong_value(f"The subnet ID is invalid: {bad[0]}")
    if not SUBNETS[0] <= len(placed) <= SUBNETS[1] or len(set(ids)) != len(ids):
        raise wrong_value(f"SubnetIds must name {SUBNETS[0]} to {SUBNETS[1]} different subnets.")
    if len({subnet["az"] for subnet in placed}) != len(placed):
        raise wrong_value("The subnets must be in different availability zones.")
