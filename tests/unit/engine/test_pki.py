"""Certificates: who issued them, whom they are for, and when they are due again."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509 import verification

from cachefleet.engine import pki
from cachefleet.engine.pki import Identity, Pair, UnusableKeys

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
NODE = Identity(common_name="demo 0001", addresses=("127.0.5.1", "::1"), names=("demo.test",))


@pytest.fixture(scope="module")
def authority() -> Pair:
    return pki.new_authority(fleet="tests", now=NOW)


@pytest.fixture(scope="module")
def issued(authority: Pair) -> Pair:
    return pki.issue(authority, NODE, now=NOW)


def why_due(pair: Pair, authority: Pair, identity: Identity = NODE, **later: int) -> str | None:
    return pki.why_due(pair, identity, authority.certificate, now=NOW + timedelta(**later))


@pytest.mark.parametrize(
    "subject",
    [
        x509.IPAddress(ipaddress.ip_address("127.0.5.1")),
        x509.IPAddress(ipaddress.ip_address("::1")),
        x509.DNSName("demo.test"),
    ],
)
def test_another_implementation_of_the_rules_accepts_it(
    authority: Pair, issued: Pair, subject: x509.GeneralName
) -> None:
    roots = x509.load_pem_x509_certificates(authority.certificate)
    leaf, *rest = x509.load_pem_x509_certificates(issued.certificate)
    assert rest == roots, "the authority's own certificate follows"
    assert isinstance(subject, x509.DNSName | x509.IPAddress)
    builder = verification.PolicyBuilder().store(verification.Store(roots)).time(NOW)
    assert builder.build_server_verifier(subject).verify(leaf, [])


def test_it_is_for_nobody_else(authority: Pair, issued: Pair) -> None:
    roots = x509.load_pem_x509_certificates(authority.certificate)
    leaf = x509.load_pem_x509_certificate(issued.certificate)
    builder = verification.PolicyBuilder().store(verification.Store(roots)).time(NOW)
    with pytest.raises(verification.VerificationError):
        builder.build_server_verifier(x509.DNSName("other.test")).verify(leaf, [])


def test_the_authority_signs_no_other_authority(authority: Pair) -> None:
    certificate = x509.load_pem_x509_certificate(authority.certificate)
    constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)


def test_a_good_one_is_not_due(authority: Pair, issued: Pair) -> None:
    assert why_due(issued, authority) is None
    assert why_due(issued, authority, days=59) is None


@pytest.mark.parametrize("days", [60, 90, 1000])
def test_it_is_due_while_it_is_still_good(authority: Pair, issued: Pair, days: int) -> None:
    assert why_due(issued, authority, days=days) == "it ends soon"


def test_a_clock_that_was_set_back_makes_it_due(authority: Pair, issued: Pair) -> None:
    assert why_due(issued, authority, days=-1) == "it is not valid yet"


def test_a_new_address_makes_it_due(authority: Pair, issued: Pair) -> None:
    more = replace(NODE, addresses=(*NODE.addresses, "127.0.5.9"))
    assert why_due(issued, authority, more) == "it is not for 127.0.5.9"
    fewer = replace(NODE, addresses=("127.0.5.1",))
    assert why_due(issued, authority, fewer) is None


def test_another_authority_makes_it_due(issued: Pair) -> None:
    other = pki.new_authority(fleet="tests", now=NOW)
    assert why_due(issued, other) == "another authority issued it"


def test_halves_of_two_pairs_are_due(authority: Pair, issued: Pair) -> None:
    other = pki.issue(authority, NODE, now=NOW)
    torn = Pair(issued.certificate, other.key)
    assert why_due(torn, authority) == "the private key belongs to another certificate"


@pytest.mark.parametrize(
    ("certificate", "key"), [(b"", None), (None, b""), (b"x" * 2**21, None), (None, b"-----")]
)
def test_what_is_no_pair_is_refused_without_showing_it(
    issued: Pair, certificate: bytes | None, key: bytes | None
) -> None:
    pair = Pair(
        issued.certificate if certificate is None else certificate,
        issued.key if key is None else key,
    )
    with pytest.raises(UnusableKeys) as refused:
        pki.load(pair)
    assert "BEGIN" not in str(refused.value)


def test_keys_are_not_in_what_is_printed(issued: Pair) -> None:
    assert "PRIVATE" not in repr(issued)
