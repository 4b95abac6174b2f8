"""The other cachefleets that an operator names, and the secret that is shared with them."""

from __future__ import annotations

from cachefleet.provisioner.clock import Clock
from cachefleet.provisioner.peering.client import Peers
from cachefleet.provisioner.peering.seal import SECRET_BYTES_MAX, SECRET_BYTES_MIN
from cachefleet.serving import CannotStart
from cachefleet.settings import Settings


def open_peers(settings: Settings, clock: Clock) -> Peers:
    """Return the other cachefleets that there are by the settings.

    Raises:
        CannotStart: the secret cannot be read, or is none.
    """
    path = settings.peer_secret_file
    if path is None:
        return Peers()
    try:
        secret = path.expanduser().read_bytes().strip()
    except OSError as error:
        raise CannotStart(f"cannot read the peer secret {path}: {error.strerror}") from error
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise CannotStart(
            f"the peer secret in {path} has to have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes"
        )
    return Peers(settings.peer_regions, secret=secret, clock=clock)
