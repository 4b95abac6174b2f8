"""Certificates on disk: made once, private, mended, renewed in time or by order."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cachefleet.engine import pki
from cachefleet.engine.pki import Identity, UnusableKeys
from cachefleet.provisioner.reconciler.certificates import Certificates

NODE = Identity(common_name="demo 0001", addresses=("127.0.5.1",), names=("demo.test",))


class Watch:
    """A clock that stands until it is set."""

    def __init__(self) -> None:
        self.time = datetime(2026, 5, 1, tzinfo=UTC)

    def now(self) -> datetime:
        return self.time

    def monotonic_s(self) -> float:
        return self.time.timestamp()


@pytest.fixture
def clock() -> Watch:
    return Watch()


@pytest.fixture
def certificates(tmp_path: Path, clock: Watch) -> Certificates:
    return Certificates(tmp_path, clock)


def serial(certificates: Certificates, name: str = "n1") -> int:
    """Return the serial number of what is on disk."""
    return pki.read(Path(certificates.files(name).cert_file).read_bytes()).serial


def test_everything_is_private(certificates: Certificates, tmp_path: Path) -> None:
    certificates.ensure("n1", NODE)
    directory = tmp_path / "tls"
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}
    assert {"ca.crt", "ca.key", "n1.crt", "n1.key"} <= set(os.listdir(directory))
    assert not [name for name in os.listdir(directory) if name.endswith(".aside")]


def test_the_authority_is_made_once(tmp_path: Path, clock: Watch) -> None:
    first = Certificates(tmp_path, clock).authority()
    assert Certificates(tmp_path, clock).authority() == first


def test_an_authority_without_its_key_is_never_replaced(
    certificates: Certificates, tmp_path: Path
) -> None:
    before = certificates.authority().certificate
    (tmp_path / "tls" / "ca.key").unlink()
    with pytest.raises(UnusableKeys, match="is gone"):
        certificates.ensure("n1", NODE)
    assert certificates.authority_path.read_bytes() == before


def test_a_good_certificate_stays_over_a_restart(tmp_path: Path, clock: Watch) -> None:
    first = Certificates(tmp_path, clock)
    first.ensure("n1", NODE)
    before = serial(first)
    again = Certificates(tmp_path, clock)
    again.ensure("n1", NODE)
    assert serial(again) == before == again.serial("n1")


@pytest.mark.parametrize("kind", ["crt", "key"])
def test_half_a_pair_is_mended(tmp_path: Path, clock: Watch, kind: str) -> None:
    Certificates(tmp_path, clock).ensure("n1", NODE)
    (tmp_path / "tls" / f"n1.{kind}").write_bytes(b"torn")
    again = Certificates(tmp_path, clock)
    again.ensure("n1", NODE)
    authority = again.authority().certificate
    pair = pki.Pair(
        *(Path(p).read_bytes() for p in (again.files("n1").cert_file, again.files("n1").key_file))
    )
    assert pki.why_due(pair, NODE, authority, now=clock.now()) is None


def test_it_is_renewed_in_time_and_told_of_once(certificates: Certificates, clock: Watch) -> None:
    certificates.ensure("n1", NODE)
    before = serial(certificates)
    clock.time += pki.CERTIFICATE_VALID - pki.RENEW_WITH_LEFT - timedelta(hours=1)
    certificates.ensure("n1", NODE)
    assert (serial(certificates), certificates.anything_due()) == (before, False)
    clock.time += timedelta(hours=1)
    assert certificates.is_due("n1")
    assert certificates.anything_due()
    certificates.ensure("n1", NODE)
    assert serial(certificates) != before
    assert not certificates.anything_due()
    assert certificates.take_renewed(["n1", "n2"]) == {"n1"}
    assert certificates.take_renewed(["n1"]) == set()


def test_an_order_renews_what_is_older(certificates: Certificates, tmp_path: Path) -> None:
    certificates.ensure("n1", NODE)
    before = serial(certificates)
    Certificates(tmp_path, Watch()).renew_all()  # another process: the operator's
    assert certificates.is_due("n1")
    certificates.ensure("n1", NODE)
    renewed = serial(certificates)
    assert renewed != before
    certificates.ensure("n1", NODE)
    assert serial(certificates) == renewed


def test_a_first_certificate_is_not_told_of_as_renewed(certificates: Certificates) -> None:
    certificates.ensure("n1", NODE)
    assert certificates.take_renewed(["n1"]) == set()


def test_what_is_forgotten_is_gone(certificates: Certificates) -> None:
    certificates.ensure("n1", NODE)
    certificates.ensure("n2", NODE)
    certificates.forget("n1")
    certificates.forget("n1")
    assert certificates.names() == {"n2"}
    assert not certificates.is_due("n1")


def issuer(certificates: Certificates, name: str = "n1") -> int:
    """Return the serial number of the authority that signed what is on disk."""
    chain = pki.split(Path(certificates.files(name).cert_file).read_bytes())
    assert len(chain) == 2, "a certificate, and the one authority that signed it"
    assert pki.is_issued_by(chain[0], chain[1])
    return pki.read(chain[1]).serial


def trusted(certificates: Certificates) -> list[int]:
    """Return the serial numbers of the authorities that are trusted, the issuing one first."""
    found = pki.split(certificates.authority_path.read_bytes())
    return [pki.read(one).serial for one in found]


def test_a_new_authority_issues_and_the_former_stays_trusted(certificates: Certificates) -> None:
    certificates.ensure("n1", NODE)
    (old,) = trusted(certificates)
    before, stamp = serial(certificates), certificates.trust_stamp()
    certificates.rotate()
    assert trusted(certificates)[1:] == [old]
    assert certificates.trust_stamp() != stamp
    certificates.ensure("n1", NODE)
    certificates.ensure("n2", NODE)
    assert (serial(certificates), issuer(certificates)) == (before, old), "what is good stays"
    assert issuer(certificates, "n2") == trusted(certificates)[0]
    assert (certificates.is_behind("n1"), certificates.is_behind("n2")) == (True, False)
    assert not certificates.is_behind("nobody")


def test_it_stays_over_a_restart_and_goes_when_it_is_brought_forward(
    tmp_path: Path, clock: Watch
) -> None:
    Certificates(tmp_path, clock).ensure("n1", NODE)
    Certificates(tmp_path, clock).rotate()
    again = Certificates(tmp_path, clock)
    again.ensure("n1", NODE)
    assert again.is_behind("n1")
    assert not again.forget_former(), "it is in use"
    again.bring_forward("n1")
    again.ensure("n1", NODE)
    assert not again.is_behind("n1")
    assert serial(again) == again.serial("n1")
    after = serial(again)
    again.bring_forward("n1")
    again.ensure("n1", NODE)
    assert serial(again) == after, "a second time changes nothing"
    assert again.forget_former()
    assert len(trusted(again)) == 1


@pytest.mark.parametrize("done", [(), ("key",)], ids=["decided", "key-in-place"])
def test_a_rotation_that_was_cut_short_is_gone_on_with(
    tmp_path: Path, clock: Watch, done: tuple[str, ...]
) -> None:
    Certificates(tmp_path, clock).ensure("n1", NODE)
    beside = tmp_path / "beside"
    shutil.copytree(tmp_path / "tls", beside / "tls")
    Certificates(beside, clock).rotate()
    # As it is when the process ends before the new pair is in its place.
    for kind in ("key", "crt"):
        name = "ca" if kind in done else "next"
        shutil.copy(beside / "tls" / f"ca.{kind}", tmp_path / "tls" / f"{name}.{kind}")
    again = Certificates(tmp_path, clock)
    assert len(trusted(again)) == 1
    pki.load(again.authority())
    assert len(trusted(again)) == 2
    again.ensure("n2", NODE)
    assert issuer(again, "n2") == trusted(again)[0]
    assert again.names() == {"n1", "n2"}


def test_only_authorities_that_are_in_use_are_kept_and_only_so_many(
    certificates: Certificates,
) -> None:
    for number in range(4):
        certificates.ensure(f"n{number}", NODE)
        certificates.rotate()
    assert len(trusted(certificates)) == 5
    certificates.ensure("n4", NODE)
    with pytest.raises(UnusableKeys, match="apply the service updates"):
        certificates.rotate()
    certificates.forget("n0")
    certificates.rotate()
    assert len(trusted(certificates)) == 5
