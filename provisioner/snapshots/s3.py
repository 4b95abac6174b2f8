"""RDB files and whole snapshots as objects in S3, at any endpoint that speaks its API. Blocking.

Large objects go up in parts, each with its own retries; until the last step nobody can see any of
them. Refusals carry the words that the service answers exports and seeds with.
"""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from cachefleet.provisioner.snapshots.aws import aws_client
from cachefleet.provisioner.snapshots.manifest import (
    MANIFEST_BYTES_MAX,
    MANIFEST_FILE,
    Manifest,
    parse_manifest,
)
from cachefleet.provisioner.snapshots.sealing import Part
from cachefleet.provisioner.snapshots.store import (
    READ_BYTES,
    ShardWriter,
    SnapshotMissing,
    StoreUnavailable,
)

PART_BYTES = 16 << 20  # ten thousand of them make 160 GB
PARTS_MAX = 10_000
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII)
_ARN = re.compile(r"arn:[a-z-]+:s3:::([^/,]+)(?:/([^,]+))?", re.ASCII)
_DENIED = frozenset({"AccessDenied", "403", "InvalidAccessKeyId", "SignatureDoesNotMatch"})
_MISSING = frozenset({"NoSuchBucket", "NoSuchKey", "NotFound", "404"})
_FIRST_REGION = "us-east-1"  # whose name S3 leaves out of a bucket's location

NO_RIGHTS = (
    "The authenticated user does not have sufficient permissions to perform the desired activity."
)


class S3Refused(Exception):
    """A bucket or object cannot be used; the message is the service's own."""


@dataclass(frozen=True, slots=True)
class ObjectName:
    """One object."""

    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class S3Place:
    """Where S3 is."""

    endpoint_url: str | None
    region: str

    @property
    def client(self) -> Any:
        return aws_client("s3", self.endpoint_url, self.region)


def parse_object_arn(arn: str) -> ObjectName:
    """Return what ``arn:aws:s3:::bucket/key`` names.

    Raises:
        S3Refused: it is something else.
    """
    match = _ARN.fullmatch(arn)
    if match is None or not BUCKET.fullmatch(match[1]):
        raise S3Refused(f"Invalid S3 ARN: {arn}")
    if not match[2] or match[2].endswith("/"):
        raise S3Refused("Must specify an object path for S3 ARN")
    return ObjectName(match[1], match[2])


def check_target(place: S3Place, bucket: str, keys: Sequence[str]) -> None:
    """Refuse a bucket that *keys* cannot be written to. It is asked, and nothing stays in it.

    Raises:
        S3Refused: the bucket is not there, elsewhere, not ours, or has one of the keys.
        StoreUnavailable: S3 does not answer.
    """
    if not BUCKET.fullmatch(bucket):
        raise S3Refused(f"The S3 bucket {bucket} does not exist.")
    client = place.client
    with _explained(f"The S3 bucket {bucket} does not exist.", NO_RIGHTS):
        client.head_bucket(Bucket=bucket)
    with _explained("", _not_granted("READ", bucket)):
        location = client.get_bucket_location(Bucket=bucket).get("LocationConstraint")
        if (location or _FIRST_REGION) != place.region:
            raise S3Refused(f"The S3 bucket {bucket} is outside of the region.")
        for key in keys:
            listed = client.list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
            if any(entry["Key"] == key for entry in listed.get("Contents", ())):
                raise S3Refused(
                    f"The S3 bucket {bucket} already contains an object with key {key}."
                )
    with _explained("", _not_granted("READ_ACP", bucket)):
        client.get_bucket_acl(Bucket=bucket)
    with _explained("", _not_granted("WRITE", bucket)):
        upload = client.create_multipart_upload(Bucket=bucket, Key=keys[0])
        client.abort_multipart_upload(Bucket=bucket, Key=keys[0], UploadId=upload["UploadId"])


def check_object(place: S3Place, name: ObjectName) -> int:
    """Return the size of an object that can be read.

    Raises:
        S3Refused: it cannot.
        StoreUnavailable: S3 does not answer.
    """
    where = f"The S3 object {name.key} of bucket {name.bucket}"
    missing = f"{where} does not exist or cannot be read."
    with _explained(missing, missing):
        told = place.client.head_object(Bucket=name.bucket, Key=name.key)
    if str(told.get("ServerSideEncryption", "")).startswith("aws:kms"):
        raise S3Refused(f"{where} is encrypted with a KMS key, which is not supported.")
    return int(told["ContentLength"])


def download(place: S3Place, name: ObjectName) -> Iterator[bytes]:
    """Give an object's bytes in parts.

    Raises:
        S3Refused: it cannot be read.
        StoreUnavailable: S3 stopped answering.
    """
    missing = f"The S3 object {name.key} of bucket {name.bucket} does not exist or cannot be read."
    with _explained(missing, missing):
        body = place.client.get_object(Bucket=name.bucket, Key=name.key)["Body"]
        with contextlib.closing(body):
            yield from body.iter_chunks(READ_BYTES)


def upload(place: S3Place, name: ObjectName, parts: Iterator[bytes]) -> None:
    """Write an object; it is there when this returns, and none of it where this raises.

    Raises:
        S3Refused: S3 said no.
        StoreUnavailable: it does not answer.
    """
    writer = ObjectWriter(place, name)
    try:
        for part in parts:
            writer.write(part)
        writer.close()
    except BaseException:
        writer.abandon()
        raise


def forget_uploads(place: S3Place, name: ObjectName) -> None:
    """Call off what a former attempt had begun of an object."""
    with _explained(f"The S3 bucket {name.bucket} does not exist.", NO_RIGHTS):
        listed = place.client.list_multipart_uploads(Bucket=name.bucket, Prefix=name.key)
        for one in listed.get("Uploads", ()):
            if one["Key"] == name.key:
                place.client.abort_multipart_upload(
                    Bucket=name.bucket, Key=name.key, UploadId=one["UploadId"]
                )


def remove_object(place: S3Place, name: ObjectName) -> None:
    """Remove an object as far as that can be done."""
    with contextlib.suppress(ClientError, BotoCoreError):
        place.client.delete_object(Bucket=name.bucket, Key=name.key)


class ObjectWriter:
    """An object that is being written in parts."""

    def __init__(self, place: S3Place, name: ObjectName) -> None:
        self._client = place.client
        self._where = {"Bucket": name.bucket, "Key": name.key}
        self._pending = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload_id: str | None = None

    def write(self, data: Part) -> None:
        self._pending += data
        while len(self._pending) >= PART_BYTES:
            part = bytes(self._pending[:PART_BYTES])
            del self._pending[:PART_BYTES]
            self._send(part)

    def close(self) -> None:
        with _explained(*self._words()):
            if self._upload_id is None:
                self._client.put_object(**self._where, Body=bytes(self._pending))
                return
            if self._pending:
                self._send(bytes(self._pending))
            self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
            self._upload_id = None

    def abandon(self) -> None:
        upload_id, self._upload_id = self._upload_id, None
        if upload_id is not None:
            with contextlib.suppress(ClientError, BotoCoreError):
                self._client.abort_multipart_upload(**self._where, UploadId=upload_id)

    def _send(self, part: bytes) -> None:
        with _explained(*self._words()):
            if self._upload_id is None:
                begun = self._client.create_multipart_upload(**self._where)
                self._upload_id = begun["UploadId"]
            number = len(self._parts) + 1
            if number > PARTS_MAX:
                raise S3Refused(f"{self._where['Key']} is too large for one object")
            sent = self._client.upload_part(
                **self._where,
                UploadId=self._upload_id,
                PartNumber=number,
                Body=io.BytesIO(part),
            )
            self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})

    def _words(self) -> tuple[str, str]:
        bucket = self._where["Bucket"]
        return f"The S3 bucket {bucket} does not exist.", _not_granted("WRITE", bucket)


class BucketStore:
    """Snapshots as objects ``<prefix><uid>/<file>``; the manifest comes last and makes it whole."""

    def __init__(self, place: S3Place, bucket: str, prefix: str) -> None:
        self._place = place
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def create(self, uid: str, name: str) -> ShardWriter:
        return ObjectWriter(self._place, self._name(uid, name))

    @contextlib.contextmanager
    def open_written(self, uid: str, name: str) -> Iterator[BinaryIO]:
        with self.open(uid, name) as file:
            yield file

    def publish(self, uid: str, manifest: Manifest) -> None:
        upload(self._place, self._name(uid, MANIFEST_FILE), iter([manifest.render()]))

    def manifest(self, uid: str) -> Manifest:
        with self.open(uid, MANIFEST_FILE) as file:
            return parse_manifest(file.read(MANIFEST_BYTES_MAX))

    @contextlib.contextmanager
    def open(self, uid: str, name: str) -> Iterator[BinaryIO]:
        where = self._name(uid, name)
        try:
            with _explained(f"{name} of snapshot {uid} is not there", NO_RIGHTS):
                body = self._place.client.get_object(Bucket=where.bucket, Key=where.key)["Body"]
        except S3Refused as error:
            raise SnapshotMissing(str(error)) from error
        with contextlib.closing(body):
            yield cast("BinaryIO", _Body(body))

    def local_path(self, uid: str, name: str) -> Path | None:
        return None

    def discard(self, uid: str) -> None:
        names = self._names(uid)
        if not any(name.endswith(f"/{MANIFEST_FILE}") for name in names):
            self._delete(names)
        self._abort_uploads(uid)

    def remove(self, uid: str) -> None:
        # Without its manifest it is no snapshot any more, whatever else is left.
        self._delete([self._name(uid, MANIFEST_FILE).key])
        self._delete(self._names(uid))
        self._abort_uploads(uid)

    def known(self) -> set[str]:
        return {key.removeprefix(self._prefix).split("/")[0] for key in self._names("")}

    def _name(self, uid: str, name: str) -> ObjectName:
        return ObjectName(self._bucket, f"{self._prefix}{uid}/{name}")

    def _names(self, uid: str) -> list[str]:
        prefix = f"{self._prefix}{uid}/" if uid else self._prefix
        with _explained(f"The S3 bucket {self._bucket} does not exist.", NO_RIGHTS):
            pages = self._place.client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            return [entry["Key"] for page in pages for entry in page.get("Contents", ())]

    def _delete(self, keys: Sequence[str]) -> None:
        with _explained(f"The S3 bucket {self._bucket} does not exist.", NO_RIGHTS):
            for key in keys:
                self._place.client.delete_object(Bucket=self._bucket, Key=key)

    def _abort_uploads(self, uid: str) -> None:
        with _explained(f"The S3 bucket {self._bucket} does not exist.", NO_RIGHTS):
            listed = self._place.client.list_multipart_uploads(
                Bucket=self._bucket, Prefix=f"{self._prefix}{uid}/"
            )
            for one in listed.get("Uploads", ()):
                self._place.client.abort_multipart_upload(
                    Bucket=self._bucket, Key=one["Key"], UploadId=one["UploadId"]
                )


class _Body:
    """An object's bytes as a file, whose faults are ours."""

    def __init__(self, body: Any) -> None:
        self._body = body

    def read(self, size: int = -1) -> bytes:
        with _explained("the object is gone", NO_RIGHTS):
            # The library gives less than asked for at the end of what it has: fill up.
            wanted, parts = size, []
            while wanted:
                part = self._body.read(None if size < 0 else wanted)
                if not part:
                    break
                parts.append(part)
                if size < 0:
                    break
                wanted -= len(part)
            return b"".join(parts)


def make_bucket_store(url: str, place: S3Place) -> BucketStore:
    """Return the store of ``s3://bucket/prefix``."""
    bucket, _, prefix = url.removeprefix("s3://").partition("/")
    return BucketStore(place, bucket, prefix)


def _not_granted(right: str, bucket: str) -> str:
    return f"ElastiCache has not been granted {right} permissions {bucket} on the S3 Bucket."


@contextlib.contextmanager
def _explained(missing: str, denied: str) -> Iterator[None]:
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code = str(told.get("Code", ""))
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if code in _MISSING and missing:
            raise S3Refused(missing) from error
        if code in _DENIED or status == 403:
            raise S3Refused(denied) from error
        if code in ("PermanentRedirect", "301", "AuthorizationHeaderMalformed"):
            raise S3Refused("The S3 bucket is outside of the region.") from error
        raise StoreUnavailable(f"S3 answered {code}") from error
    except NoCredentialsError as error:
        raise S3Refused(NO_RIGHTS) from error
    except (HTTPClientError, BotoCoreError) as error:
        raise StoreUnavailable("S3 does not answer") from error
