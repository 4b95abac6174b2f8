"""Data keys: made and wrapped by KMS (``KmsKeyId``) or by the local master key. Blocking.

A data key is only ever kept wrapped. Unwrapping asks KMS again each time, so that a key that was
disabled or deleted there stops working here: what it sealed cannot be opened, nothing else happens.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError

from cachefleet.provisioner.snapshots.aws import aws_client
from cachefleet.provisioner.snapshots.sealing import KEY_BYTES, DataKey
from cachefleet.provisioner.state.master_key import (
    MasterKey,
    UnreadableSecret,
    UnusableMasterKey,
    ensure_master_key,
    load_master_key,
)

LOCAL, KMS = "local", "kms"
ENCRYPTING = "ENCRYPT_DECRYPT"
CONTEXT = {"application": "cachefleet"}  # KMS refuses a blob that is unwrapped under another one
DISABLED = frozenset(
    {"DisabledException", "KMSInvalidStateException", "NotFoundException", "InvalidStateException"}
)
PURPOSE = "data key"


class KeyUnavailable(Exception):
    """A key cannot be had: unknown, disabled, not ours, or whoever keeps it does not answer."""


class Keys:
    """Makes and unwraps data keys. *master_key* is a file, made when it is first needed."""

    def __init__(
        self,
        *,
        master_key: Path,
        kms_endpoint_url: str | None,
        region: str,
    ) -> None:
        self._master_key = master_key
        self._endpoint_url = kms_endpoint_url
        self._region = region

    def generate(self, kms_key_id: str | None) -> DataKey:
        """Return a new data key, wrapped by *kms_key_id* or, without one, by the master key.

        Raises:
            KeyUnavailable: the key cannot be used.
        """
        if kms_key_id is None:
            clear = os.urandom(KEY_BYTES)
            sealed = self._local(ensure_master_key).seal(clear, purpose=PURPOSE)
            return DataKey(clear, {"provider": LOCAL, "blob": sealed})
        answer = self._ask(
            kms_key_id,
            lambda kms: kms.generate_data_key(
                KeyId=kms_key_id, KeySpec="AES_256", EncryptionContext=CONTEXT
            ),
        )
        return DataKey(
            answer["Plaintext"],
            {"provider": KMS, "key_id": kms_key_id, "blob": _text(answer["CiphertextBlob"])},
        )

    def unwrap(self, wrapped: Mapping[str, Any]) -> bytes:
        """Return a data key in clear.

        Raises:
            KeyUnavailable: it cannot be unwrapped any more.
        """
        try:
            if wrapped["provider"] == LOCAL:
                return self._local(load_master_key).open(wrapped["blob"], purpose=PURPOSE)
            key_id, blob = str(wrapped["key_id"]), base64.b64decode(wrapped["blob"])
        except UnreadableSecret as error:
            raise KeyUnavailable(str(error)) from error
        except (KeyError, TypeError, ValueError) as error:
            raise KeyUnavailable("the wrapped key cannot be read") from error
        answer = self._ask(
            key_id,
            lambda kms: kms.decrypt(CiphertextBlob=blob, KeyId=key_id, EncryptionContext=CONTEXT),
        )
        return bytes(answer["Plaintext"])

    def _local(self, get: Callable[[Path], MasterKey]) -> MasterKey:
        try:
            return get(self._master_key)
        except UnusableMasterKey as error:
            raise KeyUnavailable(str(error)) from error

    def _ask(self, key_id: str, question: Callable[[Any], Any]) -> Any:
        region = region_of(key_id, self._region)
        # Asked first: not every endpoint that speaks this API heeds the state of its keys.
        describe_key(key_id, endpoint_url=self._endpoint_url, region=region)
        return ask_kms(self._endpoint_url, region, key_id, question)


def ask_kms(
    endpoint_url: str | None, region: str, key_id: str, question: Callable[[Any], Any]
) -> Any:
    """Ask KMS something about a key.

    Raises:
        KeyUnavailable: it said no, or nothing.
    """
    try:
        return question(aws_client("kms", endpoint_url, region))
    except ClientError as error:
        code = error.response.get("Error", {}).get("Code", "")
        what = "is disabled, deleted or unknown" if code in DISABLED else f"cannot be used: {code}"
        raise KeyUnavailable(f"KMS key {key_id} {what}") from error
    except BotoCoreError as error:
        raise KeyUnavailable(f"KMS key {key_id} cannot be used: KMS does not answer") from error


def describe_key(key_id: str, *, endpoint_url: str | None, region: str) -> str:
    """Return the ARN of a key that can encrypt and is enabled. *key_id* may be an id or an alias.

    Raises:
        KeyUnavailable: it is another kind of key, disabled, unknown, or KMS does not answer.
    """
    told = ask_kms(endpoint_url, region, key_id, lambda kms: kms.describe_key(KeyId=key_id))
    meta = told["KeyMetadata"]
    if not meta.get("Enabled") or meta.get("KeyState", "Enabled") != "Enabled":
        raise KeyUnavailable(f"KMS key {key_id} is {meta.get('KeyState', 'disabled').lower()}")
    symmetric = meta.get("KeySpec", meta.get("CustomerMasterKeySpec")) == "SYMMETRIC_DEFAULT"
    if not symmetric or meta.get("KeyUsage", ENCRYPTING) != ENCRYPTING:
        raise KeyUnavailable(f"KMS key {key_id} is no symmetric encryption key")
    arn = str(meta["Arn"])
    if region_of(arn, region) != region:
        raise KeyUnavailable(f"KMS key {key_id} is in another region")
    return arn


def region_of(key_id: str, default: str) -> str:
    """Return the region that a key's ARN names."""
    parts = key_id.split(":")
    return parts[3] if len(parts) > 5 and parts[0] == "arn" and parts[3] else default


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
