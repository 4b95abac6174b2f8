"""What requests for the migration into a serverless cache may say, and when.

What only a look at the source can tell is not asked here: the call succeeds then, and an event says
what came of it.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping, Sequence
from typing import Any, Final

from cachefleet.api.faults import Fault
from cachefleet.api.validation.migration import check_endpoints
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.engine.outside import trusting
from cachefleet.engine.types import Engine
from cachefleet.provisioner.state import serverless_migration as words
from cachefleet.provisioner.state.serverless_tables import ServerlessCache

CERTIFICATE_CHARS_MAX: Final = 65_536
TLS_MODES: Final = ("none", "verify-ca")
_SECRET_ARN = re.compile(
    r"arn:aws[a-z-]*:secretsmanager:[a-z0-9-]{1,32}:[0-9]{12}:secret:[A-Za-z0-9/_+=.@!-]{1,512}",
    re.ASCII,
)


def check_source(given: Sequence[Mapping[str, Any]] | None) -> dict[str, Any]:
    """Return the source as it is recorded: there is exactly one."""
    sources = check_endpoints(given)
    if len(sources) != 1:
        raise wrong_value("CustomerNodeEndpointList must have exactly one element.")
    return sources[0]


def check_secret(told: Mapping[str, Any] | None) -> str | None:
    """Return the ARN of the secret with the source's login; None where it asks for none."""
    config = (told or {}).get("SecretManagerConfig") or {}
    arn: str | None = config.get("SecretArn")
    if not arn:
        if told:
            raise wrong_value("SourceAuthenticationConfiguration must have a SecretArn.")
        return None
    if not _SECRET_ARN.fullmatch(arn):
        raise wrong_value(f"The SecretArn {arn} is not valid.")
    return arn


def check_tls(told: Mapping[str, Any] | None) -> str:
    """Return the authorities that vouch for the source, in PEM; empty without TLS."""
    mode = (told or {}).get("SourceTlsMode") or "none"
    certificate: str = (told or {}).get("SourceTlsCertificate") or ""
    if mode not in TLS_MODES:
        raise wrong_value(f"Invalid SourceTlsMode {mode}. Must be one of: none, verify-ca.")
    if mode == "none":
        if certificate:
            raise wrong_value("SourceTlsCertificate goes with SourceTlsMode verify-ca only.")
        return ""
    if not certificate or len(certificate) > CERTIFICATE_CHARS_MAX:
        raise wrong_value("SourceTlsMode verify-ca requires a SourceTlsCertificate.")
    try:
        trusting(certificate)
    except (ssl.SSLError, ValueError):
        raise wrong_value("The SourceTlsCertificate is not a certificate in PEM.") from None
    return certificate


def check_engine(cache: ServerlessCache) -> None:
    """Refuse caches that data is never migrated into."""
    if cache.engine != Engine.VALKEY:
        raise wrong_value("Migration is supported into serverless caches for Valkey only.")


def require_migration(cache: ServerlessCache) -> str:
    """Return where the migration of a cache is.

    Raises:
        Fault: there is none.
    """
    phase = words.phase_of(cache)
    if phase is None:
        raise Fault(
            "ServerlessCacheNotUnderMigrationFault",
            f"Serverless cache {cache.name} is not under migration.",
        )
    return phase


def not_now(cache: ServerlessCache, phase: str) -> Fault:
    """Return the refusal of what the migration of a cache is not ready for."""
    return Fault(
        "InvalidServerlessCacheStateFault",
        f"The migration of serverless cache {cache.name} has status {phase}, which is not valid "
        "for this operation.",
    )
