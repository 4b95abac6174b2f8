"""RDB files and whole snapshots as objects in S3, at any endpoint that speaks its API. Blocking.

Large objects go up in parts, each with its own retries; until the last step nobody can see any of
them. An upload of bytes that will be the same again is gone on with after a crash: S3 is asked for
the parts that it has, and those whose size and MD5 are right are not sent again. Refusals carry the
words that the service answers exports and seeds with.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, NoCredentialsError

from cachefleet.engine.valkey.copying import Abandoned
from cachefleet.provisioner.snapshots.aws import aws_client
from cachefleet.provisioner.snapshots.following import Frontier
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
MARK = "cachefleet-content"  # metadata of an object: what it was written from
# S3 may be back soon, and we may: what it has of an upload by then is worth keeping.
Interruptions = (StoreUnavailable, Abandoned)
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


def upload(
    place: S3Place,
    name: ObjectName,
    parts: Iterator[bytes],
    *,
    mark: str | None = None,
    part_bytes: int = PART_BYTES,
) -> None:
    """Write an object; it is there when this returns, and none of it where this raises.

    With a *mark* (:func:`mark_of` tells it) the parts will be the same whenever this is repeated:
    what arrived of them before S3 went away, or before the upload was called off, stays for that.

    Raises:
        S3Refused: S3 said no.
        StoreUnavailable: it does not answer.
    """
    writer = ObjectWriter(place, name, resume=mark is not None, mark=mark, part_bytes=part_bytes)
    try:
        for part in parts:
            writer.write(part)
        writer.close()
    except Interruptions:
        writer.suspend()
        raise
    except BaseException:
        writer.abandon()
        raise


def mark_of(place: S3Place, name: ObjectName) -> str | None:
    """Return the mark that an object was written with; None where there is none, or no object.

    Raises:
        S3Refused, StoreUnavailable: nobody can tell.
    """
    try:
        with _explained("it is not there", NO_RIGHTS):
            told = place.client.head_object(Bucket=name.bucket, Key=name.key)
    except S3Refused as refusal:
        if str(refusal) == NO_RIGHTS:
            raise
        return None
    mark = told.get("Metadata", {}).get(MARK)
    return None if mark is None else str(mark)


def withdraw(place: S3Place, name: ObjectName, mark: str) -> None:
    """Remove an object that has *mark*, and what was begun of it, as far as that can be done."""
    with contextlib.suppress(S3Refused, StoreUnavailable):
        for upload_id in _uploads(place.client, name.bucket, name.key):
            _abort(place.client, {"Bucket": name.bucket, "Key": name.key}, upload_id)
        if mark_of(place, name) == mark:
            with _explained("it is not there", NO_RIGHTS):
                place.client.delete_object(Bucket=name.bucket, Key=name.key)


def _uploads(client: Any, bucket: str, key: str) -> list[str]:
    """Return the uploads of an object that have begun and not ended, the latest one last."""
    with _explained(f"The S3 bucket {bucket} does not exist.", NO_RIGHTS):
        pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=key)
        found = [one for page in pages for one in page.get("Uploads", ()) if one["Key"] == key]
    return [str(one["UploadId"]) for one in sorted(found, key=lambda one: one["Initiated"])]


def _abort(client: Any, where: Mapping[str, str], upload_id: str) -> None:
    """Call an upload off; what S3 does not hear of now is found by the next one of this object."""
    with contextlib.suppress(ClientError, BotoCoreError):
        client.abort_multipart_upload(**where, UploadId=upload_id)


class ObjectWriter:
    """An object that is being written in parts.

    With *resume* the bytes are those of a former attempt: what S3 has of it is not sent again.
    """

    def __init__(
        self,
        place: S3Place,
        name: ObjectName,
        *,
        resume: bool = False,
        mark: str | None = None,
        part_bytes: int = PART_BYTES,
    ) -> None:
        self.frontier: Frontier | None = None  # an object can be read when it is whole
        self._client = place.client
        self._where = {"Bucket": name.bucket, "Key": name.key}
        self._more = {} if mark is None else {"Metadata": {MARK: mark}}
        self._resume = resume
        self._part_bytes = part_bytes
        self._pending = bytearray()
        self._parts: list[dict[str, Any]] = []
        self._upload_id: str | None = None
        self._arrived: dict[int, tuple[int, str]] = {}  # size and MD5 of parts that S3 has

    def write(self, data: Part) -> None:
        self._pending += data
        while len(self._pending) >= self._part_bytes:
            part = bytes(self._pending[: self._part_bytes])
            del self._pending[: self._part_bytes]
            self._send(part)

    def close(self) -> None:
        with _explained(*self._words()):
            if self._upload_id is None:
                self._client.put_object(**self._where, **self._more, Body=bytes(self._pending))
                return
            if self._pending:
                self._send(bytes(self._pending))
            self._client.complete_multipart_upload(
                **self._where, UploadId=self._upload_id, MultipartUpload={"Parts": self._parts}
            )
            self._upload_id = None

    def suspend(self) -> None:
        if not self._resume:
            self.abandon()

    def abandon(self) -> None:
        upload_id, self._upload_id = self._upload_id, None
        if upload_id is not None:
            _abort(self._client, self._where, upload_id)

    def _send(self, part: bytes) -> None:
        with _explained(*self._words()):
            upload_id = self._begun()
            number = len(self._parts) + 1
            if number > PARTS_MAX:
                raise S3Refused(f"{self._where['Key']} is too large for one object")
            size, md5 = self._arrived.get(number, (-1, ""))
            if size == len(part) and md5 == hashlib.md5(part, usedforsecurity=False).hexdigest():
                etag = f'"{md5}"'
            else:
                sent = self._client.upload_part(
                    **self._where, UploadId=upload_id, PartNumber=number, Body=io.BytesIO(part)
                )
                etag = sent["ETag"]
            self._parts.append({"PartNumber": number, "ETag": etag})

    def _begun(self) -> str:
        """Return the upload that parts are sent to: one that was left, or a new one."""
        if self._upload_id is None and self._resume:
            left = _uploads(self._client, *self._where.values())
            for upload_id in left[:-1]:
                _abort(self._client, self._where, upload_id)
            if left:
                self._upload_id, self._arrived = left[-1], self._listed(left[-1])
        if self._upload_id is None:
            begun = self._client.create_multipart_upload(**self._where, **self._more)
            self._upload_id = str(begun["UploadId"])
        return self._upload_id

    def _listed(self, upload_id: str) -> dict[int, tuple[int, str]]:
        pages = self._client.get_paginator("list_parts").paginate(**self._where, UploadId=upload_id)
        return {
            int(one["PartNumber"]): (int(one["Size"]), str(one["ETag"]).strip('"'))
            for page in pages
            for one in page.get("Parts", ())
        }

    def _words(self) -> tuple[str, str]:
        bucket = self._where["Bucket"]
        return f"The S3 bucket {bucket} does not exist.", _not_granted("WRITE", bucket)


class BucketStore:
    """Snapshots as objects ``<prefix><uid>/<file>``; the manifest comes last and makes it whole."""

    def __init__(self, place: S3Place, bucket: str, prefix: str) -> None:
        self._place = place
        self._bucket = bucket
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""

    def create(self, uid: str, name: str, *, resume: bool = False) -> ShardWriter:
        return ObjectWriter(self._place, self._name(uid, name), resume=resume)

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
        client, prefix = self._place.client, f"{self._prefix}{uid}/"
        with _explained(f"The S3 bucket {self._bucket} does not exist.", NO_RIGHTS):
            pages = client.get_paginator("list_multipart_uploads").paginate(
                Bucket=self._bucket, Prefix=prefix
            )
            for one in [one for page in pages for one in page.get("Uploads", ())]:
                where = {"Bucket": self._bucket, "Key": str(one["Key"])}
                _abort(client, where, str(one["UploadId"]))


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
