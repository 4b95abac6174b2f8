"""Certificates on disk: made once, private, mended, renewed in time or by order."""

from __future__ import annotations

import os
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
