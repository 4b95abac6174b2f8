"""The local authority and the certificates it has issued: files of the data directory.

    tls/ca.crt, tls/ca.key          the authority, made once or by order
    tls/next.crt, tls/next.key      a new one that is about to take its place
    tls/<name>.crt, tls/<name>.key  a node's, or an endpoint's in the gateway
    tls/renew                       touched to have all that are older replaced

``ca.crt`` begins with the authority that issues. Behind it are those that it replaced, for as long
as anybody serves with what they issued: clients, and nodes among themselves, trust them all.

Keys are 0600, the directory 0700. A pair is written as key, then certificate, each aside and
renamed; a crash in between leaves two that do not match, which is found and mended at the next
look. A new authority is written whole before it takes its place, and a crash in between is gone on
with. Other processes of this fleet may do the same: a lock file keeps them apart.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog

from cachefleet.engine import pki
from cachefleet.engine.pki import Identity, Pair, UnusableKeys
from cachefleet.engine.valkey.config import TlsFiles
from cachefleet.provisioner.clock import Clock

log = structlog.get_logger(__name__)

DIRECTORY = "tls"
AUTHORITY = "ca"
NEXT = "next"
FORMER_MAX = 4  # authorities that are trusted beside the one that issues
RENEW_FILE = "renew"
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,99}")


@dataclass(frozen=True, slots=True)
class _Known:
    """A certificate that was good when it was last looked at."""

    identity: Identity
    renewal_at: datetime
    order: int  # the order to renew that had been given by then
    serial: int


class Certificates:
    """Issues and renews; what it gives are paths. Used from one event loop."""

    def __init__(self, data_dir: Path, clock: Clock) -> None:
        self._directory = data_dir / DIRECTORY
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._renewed: set[str] = set()  # replaced because it was time, and not yet told of
        self._brought_forward: set[str] = set()  # to be of the authority that issues now
        self._behind: dict[str, tuple[int, int, bool]] = {}

    @property
    def authority_path(self) -> Path:
        """Return where the authority's certificate is: what clients have to trust."""
        return self._directory / f"{AUTHORITY}.crt"

    def authority(self) -> Pair:
        """Return the authority, made now if there was none.

        Raises:
            UnusableKeys: its files cannot be read; they are never replaced, because clients trust
                them.
        """
        with self._locked():
            return self._authority()

    def ensure(self, name: str, identity: Identity) -> TlsFiles:
        """Return the files of a certificate that is good for *identity*, issued now if need be.

        Raises:
            UnusableKeys: the authority cannot be used.
            OSError: the files cannot be written.
        """
        now, order = self._clock.now(), self._order()
        known = self._known.get(name)
        if (
            known is None
            or known.identity != identity
            or known.order != order
            or now >= known.renewal_at
        ):
            self._known[name] = self._look(name, identity, order, now)
        return self.files(name)

    def files(self, name: str) -> TlsFiles:
        """Return where the certificate of *name* is."""
        assert _NAME.fullmatch(name), name
        return TlsFiles(
            cert_file=str(self._directory / f"{name}.crt"),
            key_file=str(self._directory / f"{name}.key"),
            ca_file=str(self.authority_path),
        )

    def serial(self, name: str) -> int:
        """Return the serial number of a certificate that :meth:`ensure` has seen."""
        return self._known[name].serial

    def is_due(self, name: str) -> bool:
        """Tell whether a certificate that was issued before has to be replaced."""
        known = self._known.get(name)
        if known is None:
            return False
        return self._clock.now() >= known.renewal_at or known.order != self._order()

    def anything_due(self) -> bool:
        """Tell whether :meth:`is_due` is true of any certificate."""
        now, order = self._clock.now(), self._order()
        return any(
            now >= known.renewal_at or known.order != order for known in self._known.values()
        )

    def trust_stamp(self) -> int:
        """Return what changes whenever other authorities are to be trusted."""
        return _changed_at(self.authority_path)

    def rotate(self) -> None:
        """Make a new authority that issues from now on; what the present one issued stays good.

        Raises:
            UnusableKeys: the present one cannot be used, or too many before it are still needed.
            OSError: the files cannot be written.
        """
        with self._locked():
            present = self._authority()
            needed = [one for one in pki.split(present.certificate)[1:] if self._is_used(one)]
            former = [pki.split(present.certificate)[0], *needed]
            if len(former) > FORMER_MAX:
                raise UnusableKeys(
                    f"certificates of {len(former)} authorities are in use; apply the service "
                    "updates first"
                )
            pair = pki.new_authority(fleet=self._directory.parent.name, now=self._clock.now())
            self._write(f"{NEXT}.key", pair.key, durable=True)
            # With this file it is decided.
            self._write(f"{NEXT}.crt", pair.certificate + b"".join(former), durable=True)
            self._finish_rotation()

    def forget_former(self) -> bool:
        """Trust no authority any more of which nothing is in use; tell whether there was one."""
        with self._locked():
            present = self._authority().certificate
            first, *former = pki.split(present)
            kept = [one for one in former if self._is_used(one)]
            if len(kept) == len(former):
                return False
            self._write(f"{AUTHORITY}.crt", first + b"".join(kept), durable=True)
            log.info("authorities_forgotten", count=len(former) - len(kept))
            return True

    def authority_serial(self) -> str:
        """Return the serial number of the authority that issues, as people read it."""
        return f"{pki.read(self.authority().certificate).serial:x}"

    def is_behind(self, name: str) -> bool:
        """Tell whether there is a certificate of *name* that a former authority issued."""
        certificate = self._path(name, "crt")
        stamps = _changed_at(certificate), self.trust_stamp()
        seen = self._behind.get(name)
        if seen is None or seen[:2] != stamps:
            try:
                issued, trusted = certificate.read_bytes(), self.authority_path.read_bytes()
                behind = not pki.is_issued_by(issued, trusted)
            except (FileNotFoundError, UnusableKeys):
                behind = False  # there is none, or one that is replaced anyway
            self._behind[name] = seen = (*stamps, behind)
        return seen[2]

    def bring_forward(self, name: str) -> None:
        """Have :meth:`ensure` replace what a former authority issued to *name*."""
        self._brought_forward.add(name)
        self._known.pop(name, None)

    def take_renewed(self, names: Iterable[str]) -> set[str]:
        """Return which of *names* were replaced because it was time, once each."""
        taken = self._renewed & set(names)
        self._renewed -= taken
        return taken

    def forget(self, name: str) -> None:
        """Remove a certificate that nobody serves with any more."""
        self._known.pop(name, None)
        self._behind.pop(name, None)
        self._brought_forward.discard(name)
        for path in (self._path(name, "crt"), self._path(name, "key")):
            path.unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Return the names of all certificates there are, but for the authority's."""
        return {path.stem for path in self._directory.glob("*.crt")} - {AUTHORITY, NEXT}

    def renew_all(self) -> None:
        """Have every certificate replaced, by whoever serves with it, at its next look."""
        with self._locked():
            self._write(RENEW_FILE, b"")

    def _look(self, name: str, identity: Identity, order: int, now: datetime) -> _Known:
        with self._locked():
            authority = self._authority()
            pair = self._read(name)
            reason: str | None = "there was none"
            if pair is not None:
                trusted = authority.certificate
                if name in self._brought_forward:
                    trusted = pki.split(trusted)[0]
                reason = pki.why_due(pair, identity, trusted, now=now)
                # The clock of files may stand still for some milliseconds: equal is older.
                if reason is None and _changed_at(self._path(name, "crt")) <= order:
                    reason = "all are to be replaced"
            if pair is None or reason is not None:
                pair = pki.issue(authority, identity, now=now)
                self._write(f"{name}.key", pair.key)
                self._write(f"{name}.crt", pair.certificate)
                if name in self._known and self._known[name].identity == identity:
                    self._renewed.add(name)
                log.info("certificate_issued", name=name, reason=reason)
            self._brought_forward.discard(name)
        facts = pki.read(pair.certificate)
        return _Known(identity, pki.renewal_at(facts), order, facts.serial)

    def _order(self) -> int:
        """Return when the last order to renew was given, by the clock of the files."""
        return _changed_at(self._directory / RENEW_FILE)

    def _authority(self) -> Pair:
        self._finish_rotation()
        pair = self._read(AUTHORITY)
        if pair is None:
            pair = pki.new_authority(fleet=self._directory.parent.name, now=self._clock.now())
            # The certificate comes last: without it there is no authority yet, and a new one.
            self._write(f"{AUTHORITY}.key", pair.key, durable=True)
            self._write(f"{AUTHORITY}.crt", pair.certificate, durable=True)
            log.info("authority_made", path=str(self.authority_path))
        pki.load(pair)
        return pair

    def _finish_rotation(self) -> None:
        """Put the new authority into its place; whatever a crash has left to do of that."""
        if not self._path(NEXT, "crt").exists():
            return
        for kind in ("key", "crt"):
            with contextlib.suppress(FileNotFoundError):  # the key may be there already
                self._path(NEXT, kind).replace(self._path(AUTHORITY, kind))
        log.info("authority_replaced", path=str(self.authority_path))

    def _is_used(self, authority: bytes) -> bool:
        """Tell whether any certificate there is was issued by *authority*."""
        for name in self.names():
            with contextlib.suppress(FileNotFoundError, UnusableKeys):
                if pki.is_issued_by(self._path(name, "crt").read_bytes(), authority):
                    return True
        return False

    def _read(self, name: str) -> Pair | None:
        try:
            certificate = self._path(name, "crt").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return Pair(certificate, self._path(name, "key").read_bytes())
        except FileNotFoundError:
            if name == AUTHORITY:
                raise UnusableKeys(f"the key of {self.authority_path} is gone") from None
            return None

    def _path(self, name: str, kind: str) -> Path:
        assert _NAME.fullmatch(name), name
        return self._directory / f"{name}.{kind}"

    def _write(self, file: str, content: bytes, *, durable: bool = False) -> None:
        aside = self._directory / f".{file}.aside"
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            if durable:  # any other is issued again where it is not whole
                stream.flush()
                os.fsync(stream.fileno())
        aside.replace(self._directory / file)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._directory / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _changed_at(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except FileNotFoundError:
        return 0
