"""Objects in S3: whole or not there, gone on with where that can be, and refusals in S3's words."""

from __future__ import annotations

import io
import itertools
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from botocore.awsrequest import AWSResponse

from cachefleet.engine.valkey.copying import Abandoned
from cachefleet.provisioner.snapshots.manifest import Manifest
from cachefleet.provisioner.snapshots.s3 import (
    BucketStore,
    ObjectName,
    S3Place,
    S3Refused,
    check_object,
    check_target,
    make_bucket_store,
    mark_of,
    upload,
    withdraw,
)
from cachefleet.provisioner.snapshots.sealing import DataKey
from cachefleet.provisioner.snapshots.shards import Take, read_shard, write_shard
from cachefleet.provisioner.snapshots.store import SnapshotMissing, StoreUnavailable
from tests.support.aws import REGION, Cloud, running_cloud
from tests.support.ports import own_port
from tests.unit.engine.rdb.files import pair, rdb

PART = 5 << 20  # the least that S3 takes for a part that is not the last one
DATA = os.urandom(PART * 3 + 1000)
BUCKET, MARK = "unit", "snapshot 1"
UID = "0123456789abcdef"
RDB = rdb(*(pair(b"key%d" % number, b"v" * 60) for number in range(500)))
KEY = DataKey(b"k" * 32, {"provider": "test", "blob": "wrapped"})

_keys = itertools.count()


@pytest.fixture(scope="module")
def cloud() -> Iterator[Cloud]:
    with running_cloud() as cloud:
        cloud.bucket(BUCKET)
        yield cloud


@pytest.fixture(scope="module")
def place(cloud: Cloud) -> S3Place:
    return S3Place(cloud.url, REGION)


@pytest.fixture
def name() -> ObjectName:
    return ObjectName(BUCKET, f"object-{next(_keys)}")


@pytest.fixture
def sent(place: S3Place) -> Iterator[list[int]]:
    """Give the numbers of the parts that go over the wire."""
    numbers: list[int] = []

    def note(params: dict[str, Any], **_: Any) -> None:
        numbers.append(int(params["query_string"]["partNumber"]))

    events = place.client.meta.events
    events.register("before-call.s3.UploadPart", note, unique_id="sent")
    yield numbers
    events.unregister("before-call.s3.UploadPart", unique_id="sent")


def pieces(data: bytes, *, fails: Exception | None = None, after: int = 0) -> Iterator[bytes]:
    """Give *data* by the megabyte; with *fails*, only so much of it."""
    for start in range(0, len(data), 1 << 20):
        if fails is not None and start >= after:
            raise fails
        yield data[start : start + (1 << 20)]


def begin(place: S3Place, name: ObjectName, fails: Exception, *, mark: str | None = MARK) -> None:
    """Send two parts and a bit, then break off."""
    with pytest.raises(type(fails)):
        upload(
            place, name, pieces(DATA, fails=fails, after=PART * 2 + (1 << 20)),
            mark=mark, part_bytes=PART,
        )  # fmt: skip


def uploads(cloud: Cloud, name: ObjectName) -> list[str]:
    listed = cloud.client("s3").list_multipart_uploads(Bucket=name.bucket)
    return [one["UploadId"] for one in listed.get("Uploads", ()) if one["Key"] == name.key]


@pytest.mark.parametrize("fails", [Abandoned(), StoreUnavailable("gone")], ids=["called-off", "s3"])
def test_what_has_arrived_is_not_sent_again(
    cloud: Cloud, place: S3Place, name: ObjectName, sent: list[int], fails: Exception
) -> None:
    begin(place, name, fails)
    assert sent == [1, 2]
    assert mark_of(place, name) is None, "nobody sees a part of it"
    upload(place, name, pieces(DATA), mark=MARK, part_bytes=PART)
    assert sent == [1, 2, 3, 4]
    assert cloud.body(*_words(name)) == DATA
    assert mark_of(place, name) == MARK
    assert uploads(cloud, name) == []


def test_a_part_that_is_another_is_sent_again(
    cloud: Cloud, place: S3Place, name: ObjectName, sent: list[int]
) -> None:
    begin(place, name, Abandoned())
    changed = bytes([DATA[0] ^ 1]) + DATA[1:]
    upload(place, name, pieces(changed), mark=MARK, part_bytes=PART)
    assert sent == [1, 2, 1, 3, 4]
    assert cloud.body(*_words(name)) == changed


def test_of_several_uploads_one_is_gone_on_with(
    cloud: Cloud, place: S3Place, name: ObjectName
) -> None:
    client = cloud.client("s3")
    for _ in range(2):
        client.create_multipart_upload(Bucket=name.bucket, Key=name.key)
    upload(place, name, pieces(DATA), mark=MARK, part_bytes=PART)
    assert cloud.body(*_words(name)) == DATA
    assert uploads(cloud, name) == []


@pytest.mark.parametrize(
    ("fails", "mark"),
    [
        pytest.param(ValueError("broken"), MARK, id="no-use-in-going-on"),
        pytest.param(S3Refused("no"), MARK, id="refused"),
        pytest.param(Abandoned(), None, id="other-bytes-next-time"),
    ],
)
def test_what_nobody_goes_on_with_does_not_stay(
    cloud: Cloud, place: S3Place, name: ObjectName, fails: Exception, mark: str | None
) -> None:
    begin(place, name, fails, mark=mark)
    assert uploads(cloud, name) == []


def test_only_our_own_is_withdrawn(cloud: Cloud, place: S3Place, name: ObjectName) -> None:
    cloud.put(*_words(name), b"somebody else's")
    withdraw(place, name, MARK)
    assert cloud.body(*_words(name)) == b"somebody else's"
    upload(place, name, iter([b"ours"]), mark=MARK)
    withdraw(place, name, "another mark")
    assert mark_of(place, name) == MARK
    withdraw(place, name, MARK)
    withdraw(place, name, MARK)
    assert mark_of(place, name) is None
    begin(place, name, Abandoned())
    withdraw(place, name, MARK)
    assert uploads(cloud, name) == []


def _words(name: ObjectName) -> tuple[str, str]:
    return name.bucket, name.key


# -- the store -------------------------------------------------------------------------------------


def unwrap(wrapped: Mapping[str, Any]) -> bytes:
    assert wrapped == KEY.wrapped
    return KEY.clear


def pull(take: Take) -> None:
    for start in range(0, len(RDB), 1000):
        take(RDB[start : start + 1000])


def written(store: BucketStore, key: DataKey | None = None, *, resume: bool = False) -> Manifest:
    shard = write_shard(
        store, UID, "0001.rdb", pull, key=key, unwrap=unwrap, count=lambda _: None,
        check=lambda: None, resume=resume,
    )  # fmt: skip
    return Manifest(
        snapshot="s", engine="valkey", engine_version="9.1.0", cluster_enabled=False,
        created_at="2026-01-01T00:00:00+00:00", shards=(shard,),
    )  # fmt: skip


@pytest.mark.parametrize("key", [None, KEY], ids=["clear", "sealed"])
def test_what_was_written_is_read(cloud: Cloud, place: S3Place, key: DataKey | None) -> None:
    store = make_bucket_store(f"s3://{BUCKET}/deep/down/", place)
    whole = written(store, key)
    with pytest.raises(SnapshotMissing):
        store.manifest(UID)
    store.publish(UID, whole)
    store.publish(UID, whole)
    assert store.manifest(UID) == whole
    assert b"".join(read_shard(store, UID, whole.shards[0], unwrap)) == RDB
    assert (b"key1" in cloud.body(BUCKET, f"deep/down/{UID}/0001.rdb")) is (key is None)
    assert store.known() == {UID}
    store.discard(UID)
    assert store.manifest(UID) == whole, "what is whole is not discarded"
    store.remove(UID)
    store.remove(UID)
    assert store.known() == set()


def test_what_did_not_come_about_is_discarded(cloud: Cloud, place: S3Place) -> None:
    store = make_bucket_store(f"s3://{BUCKET}/unfinished", place)
    written(store, resume=True)
    key = f"unfinished/{UID}/0002.rdb"
    cloud.client("s3").create_multipart_upload(Bucket=BUCKET, Key=key)
    store.discard(UID)
    assert store.known() == set()
    assert uploads(cloud, ObjectName(BUCKET, key)) == []


def test_a_bucket_that_is_not_there(place: S3Place) -> None:
    store = make_bucket_store("s3://no-such-bucket/x", place)
    for ask in (lambda: written(store), store.known, lambda: store.discard(UID)):
        with pytest.raises(S3Refused, match="The S3 bucket no-such-bucket does not exist"):
            ask()
    with pytest.raises(SnapshotMissing):
        store.manifest(UID)


def test_a_bucket_that_is_not_for_us(cloud: Cloud, place: S3Place) -> None:
    cloud.bucket("closed")
    policy = (
        '{"Version": "2012-10-17", "Statement": [{"Effect": "Deny", "Principal": "*", '
        '"Action": "s3:PutObject", "Resource": "arn:aws:s3:::closed/*"}]}'
    )
    cloud.client("s3").put_bucket_policy(Bucket="closed", Policy=policy)
    with pytest.raises(S3Refused, match="has not been granted WRITE permissions closed"):
        written(make_bucket_store("s3://closed", place))


@pytest.fixture(scope="module")
def targets(cloud: Cloud) -> None:
    """Make buckets that exports are refused to."""
    cloud.bucket("taken")
    cloud.put("taken", "out-0001.rdb", b"")
    cloud.bucket("abroad", "eu-west-1")


@pytest.mark.parametrize(
    ("bucket", "words"),
    [
        ("nowhere", "The S3 bucket nowhere does not exist."),
        ("No_Bucket", "The S3 bucket No_Bucket does not exist."),
        ("abroad", "The S3 bucket abroad is outside of the region."),
        ("taken", "The S3 bucket taken already contains an object with key out-0001.rdb."),
    ],
)
def test_where_nothing_can_be_exported_to(
    place: S3Place, targets: None, bucket: str, words: str
) -> None:
    with pytest.raises(S3Refused) as refusal:
        check_target(place, bucket, ["out-0001.rdb", "out-0002.rdb"])
    assert str(refusal.value) == words


class _Raw(io.BytesIO):
    """A body as the library reads it from the wire."""

    def stream(self, **_: Any) -> Iterator[bytes]:
        yield self.read()


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        pytest.param("HeadBucket", "The authenticated user does not have sufficient", id="any"),
        pytest.param("ListObjectsV2", "not been granted READ permissions unit", id="read"),
        pytest.param("GetBucketAcl", "not been granted READ_ACP permissions unit", id="read-acp"),
        pytest.param(
            "CreateMultipartUpload", "not been granted WRITE permissions unit", id="write"
        ),
    ],
)
def test_a_right_that_is_missing(place: S3Place, operation: str, words: str) -> None:
    """What S3 denies is told by the right that it is for; the answer takes the wire's place."""

    def deny(request: Any, **_: Any) -> AWSResponse:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        return AWSResponse(request.url, 403, {}, _Raw(b"" if request.method == "HEAD" else body))

    events, event = place.client.meta.events, f"before-send.s3.{operation}"
    events.register(event, deny, unique_id="deny")
    try:
        with pytest.raises(S3Refused, match=words):
            check_target(place, BUCKET, ["out-0001.rdb"])
    finally:
        events.unregister(event, unique_id="deny")


def test_a_bucket_that_takes_an_export_is_left_as_it_was(cloud: Cloud, place: S3Place) -> None:
    bucket = cloud.bucket("open")
    check_target(place, bucket, ["out-0001.rdb"])
    assert cloud.keys(bucket) == []
    assert uploads(cloud, ObjectName(bucket, "out-0001.rdb")) == []


def test_a_seed_that_cannot_be_read(cloud: Cloud, place: S3Place) -> None:
    with pytest.raises(S3Refused, match=r"nothing.rdb of bucket unit does not exist or cannot be"):
        check_object(place, ObjectName(BUCKET, "nothing.rdb"))
    cloud.client("s3").put_object(
        Bucket=BUCKET, Key="locked.rdb", Body=b"x", ServerSideEncryption="aws:kms"
    )
    with pytest.raises(S3Refused, match="encrypted with a KMS key, which is not supported"):
        check_object(place, ObjectName(BUCKET, "locked.rdb"))


def test_an_endpoint_where_nobody_listens() -> None:
    store = make_bucket_store(f"s3://{BUCKET}", S3Place(f"http://127.0.0.1:{own_port()}", REGION))
    with pytest.raises(StoreUnavailable, match="S3 does not answer"):
        store.manifest(UID)
