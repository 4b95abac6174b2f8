"""Certificates: a local authority, the certificates it issues, and when one is due again. Pure.

Keys are P-256: a handshake costs a tenth of what it does with RSA, and every client that can speak
TLS 1.2 takes it. Times and randomness of the outside come in as arguments, but for the keys and
serial numbers themselves. Refuses files that are not a certificate or key of ours.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

AUTHORITY_VALID: Final = timedelta(days=3650)
CERTIFICATE_VALID: Final = timedelta(days=90)
# A certificate is replaced with a third of its time left: two more attempts fit in.
RENEW_WITH_LEFT: Final = timedelta(days=30)
# Clocks differ; a certificate of this second must be good on a machine that lags behind.
BACKDATED: Final = timedelta(hours=1)
NAME_CHARS_MAX: Final = 64  # of a common name, by X.509
PEM_BYTES_MAX: Final = 1024 * 1024

_USAGE: Final = {
    "content_commitment": False,
    "key_encipherment": False,
    "data_encipherment": False,
    "key_agreement": False,
    "encipher_only": False,
    "decipher_only": False,
}


class UnusableKeys(Exception):
    """Not a certificate, not a key, or not a pair; the message says which, and holds no key."""


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """What a certificate is for: the addresses and names that clients connect to."""

    common_name: str
    addresses: tuple[str, ...]
    names: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Facts:
    """What a certificate says."""

    addresses: frozenset[str]
    names: frozenset[str]
    not_before: datetime
    not_after: datetime
    serial: int
    der: bytes = field(repr=False)


def new_authority(*, fleet: str, now: datetime) -> Pair:
    """Make the authority of one fleet; it signs certificates of servers and nothing else."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"cachefleet {fleet}"[:64])])
    certificate = (
        _builder(name, name, key.public_key(), now=now, valid=AUTHORITY_VALID)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=False, key_cert_sign=True, crl_sign=True, **_USAGE),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    return Pair(certificate.public_bytes(serialization.Encoding.PEM), _key_bytes(key))


def issue(authority: Pair, identity: Identity, *, now: datetime) -> Pair:
    """Issue a certificate to a server; the authority's own follows it in the file.

    Raises:
        UnusableKeys: *authority* is not one.
    """
    issuer, issuer_key = load(authority)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.NameAttribute(NameOID.COMMON_NAME, identity.common_name[:NAME_CHARS_MAX])
    certificate = (
        _builder(x509.Name([name]), issuer.subject, key.public_key(), now=now)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(digital_signature=True, key_cert_sign=False, crl_sign=False, **_USAGE),
            critical=True,
        )
        # Nodes connect to each other as clients, with the certificate that they serve with.
        .add_extension(
            x509.ExtendedKeyUsage(
                [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
            ),
            critical=False,
        )
        .add_extension(x509.SubjectAlternativeName(_alternatives(identity)), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()),
            critical=False,
        )
        .sign(issuer_key, hashes.SHA256())
    )
    chain = certificate.public_bytes(serialization.Encoding.PEM) + split(authority.certificate)[0]
    return Pair(chain, _key_bytes(key))


def load(pair: Pair) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    """Return the first certificate and the key of a pair.

    Raises:
        UnusableKeys: one of them is not what it should be, or they do not belong together.
    """
    certificate = _certificate(pair.certificate)
    try:
        key = serialization.load_pem_private_key(pair.key, password=None)
    except (ValueError, TypeError) as error:
        raise UnusableKeys("the private key cannot be read") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise UnusableKeys("the private key is of another kind")
    if certificate.public_key() != key.public_key():
        raise UnusableKeys("the private key belongs to another certificate")
    return certificate, key


def read(certificate: bytes) -> Facts:
    """Return what the first certificate of a file says.

    Raises:
        UnusableKeys: it is none.
    """
    found = _certificate(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        names = x509.SubjectAlternativeName([])
    return Facts(
        addresses=frozenset(str(one) for one in names.get_values_for_type(x509.IPAddress)),
        names=frozenset(names.get_values_for_type(x509.DNSName)),
        not_before=found.not_valid_before_utc,
        not_after=found.not_valid_after_utc,
        serial=found.serial_number,
        der=found.public_bytes(serialization.Encoding.DER),
    )


def why_due(pair: Pair, identity: Identity, authority: bytes, *, now: datetime) -> str | None:
    """Return why the certificate has to be replaced, or None where it is good.

    *authority* may be several, one after the other: any of them may have issued it.
    """
    try:
        load(pair)
        facts = read(pair.certificate)
        if not any(is_issued_by(pair.certificate, one) for one in split(authority)):
            return "another authority issued it"
    except UnusableKeys as error:
        return str(error)
    if missing := set(identity.addresses) - facts.addresses | set(identity.names) - facts.names:
        return f"it is not for {', '.join(sorted(missing))}"
    if now < facts.not_before:
        return "it is not valid yet"
    if now >= renewal_at(facts):
        return "it ends soon"
    return None


def is_issued_by(certificate: bytes, authority: bytes) -> bool:
    """Tell whether the first of *authority*'s certificates signed the first of *certificate*'s.

    Raises:
        UnusableKeys: one of them is no certificate.
    """
    issued, issuer = _certificate(certificate), _certificate(authority)
    try:
        issued.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True


def split(certificates: bytes) -> list[bytes]:
    """Return the certificates of a file one by one, in their order; never none.

    Raises:
        UnusableKeys: it has none, or something else beside them.
    """
    if len(certificates) > PEM_BYTES_MAX:
        raise UnusableKeys("the certificate is too long")
    try:
        found = x509.load_pem_x509_certificates(certificates)
    except ValueError as error:
        raise UnusableKeys("the certificate cannot be read") from error
    return [one.public_bytes(serialization.Encoding.PEM) for one in found]


def renewal_at(facts: Facts) -> datetime:
    """Return when a certificate is to be replaced."""
    return facts.not_after - RENEW_WITH_LEFT


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    *,
    now: datetime,
    valid: timedelta = CERTIFICATE_VALID,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED)
        .not_valid_after(now + valid)
    )


def _alternatives(identity: Identity) -> Sequence[x509.GeneralName]:
    addresses = dict.fromkeys(identity.addresses)
    names = dict.fromkeys(identity.names)
    return [
        *(x509.IPAddress(ipaddress.ip_address(address)) for address in addresses),
        *(x509.DNSName(name) for name in names),
    ]


def _certificate(pem: bytes) -> x509.Certificate:
    if len(pem) > PEM_BYTES_MAX:
        raise UnusableKeys("the certificate is too long")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise UnusableKeys("the certificate cannot be read") from error


def _key_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
