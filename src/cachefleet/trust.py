"""What clients have to trust: the local authority's certificate, for ``cachefleet ca``."""

from __future__ import annotations

from cachefleet.engine.pki import UnusableKeys
from cachefleet.provisioner.clock import SystemClock
from cachefleet.provisioner.reconciler.certificates import Certificates
from cachefleet.settings import Settings


class NotUsable(Exception):
    """The authority's files cannot be used; the message is one line."""


def authority_certificate(settings: Settings) -> str:
    """Return the authority's certificate, made now where there is no authority yet.

    Raises:
        NotUsable: its files cannot be read, or nothing can be written there.
    """
    try:
        return _certificates(settings).authority().certificate.decode()
    except (UnusableKeys, OSError) as error:
        raise NotUsable(f"the certificate authority cannot be used: {error}") from error


def renew_certificates(settings: Settings) -> None:
    """Have every certificate replaced; a server that runs does it within seconds.

    Raises:
        NotUsable: nothing can be written there.
    """
    try:
        _certificates(settings).renew_all()
    except OSError as error:
        raise NotUsable(f"the order to renew cannot be written: {error}") from error


def rotate_authority(settings: Settings) -> None:
    """Make a new authority; what the present one issued is trusted until it is replaced.

    Raises:
        NotUsable: the present one cannot be used, or nothing can be written there.
    """
    try:
        _certificates(settings).rotate()
    except (UnusableKeys, OSError) as error:
        raise NotUsable(f"the certificate authority cannot be replaced: {error}") from error


def _certificates(settings: Settings) -> Certificates:
    return Certificates(settings.data_dir, SystemClock())
