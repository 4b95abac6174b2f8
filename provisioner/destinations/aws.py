"""CloudWatch Logs and Firehose, by boto3, at the endpoint that the operator named.

What it takes to wait is bounded: a destination that is away costs seconds in a thread of its own,
and nobody else anything.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Sequence
from typing import Any

from cachefleet.provisioner.destinations.base import (
    CLOUDWATCH,
    DeliveryFailed,
    Item,
)
from cachefleet.provisioner.state.scope import Scope

CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 5.0
ATTEMPTS_MAX = 1  # we try again ourselves, later
RECORDS_PER_BATCH_MAX = 500  # Firehose's limit; CloudWatch Logs takes 10,000
MESSAGE_CHARS_MAX = 255
# boto3 makes clients from one session, which must not be used by two threads at once.
_making = threading.Lock()


def make_client(service: str, *, scope: Scope, endpoint_url: str | None) -> Any:
    """Return a boto3 client; with an endpoint of one's own, the account is the access key."""
    import boto3  # loaded by those who deliver somewhere: it takes a quarter of a second
    from botocore.config import Config

    own = (
        {}
        if endpoint_url is None
        else {
            "endpoint_url": endpoint_url,
            "aws_access_key_id": scope.account,
            "aws_secret_access_key": "cachefleet",
        }
    )
    with _making:
        return boto3.session.Session().client(
            service,
            region_name=scope.region,
            config=Config(
                connect_timeout=CONNECT_TIMEOUT_S,
                read_timeout=READ_TIMEOUT_S,
                retries={"total_max_attempts": ATTEMPTS_MAX},
            ),
            **own,
        )


class LogsDestination:
    """A log group. It has to be there; streams in it are made when they are first needed."""

    def __init__(self, client: Any, group: str) -> None:
        self._client = client
        self._group = group
        self._streams: set[str] = set()

    def check(self) -> None:
        answer = _call(self._client.describe_log_groups, logGroupNamePrefix=self._group)
        if self._group not in {row["logGroupName"] for row in answer["logGroups"]}:
            raise DeliveryFailed(f"The log group {self._group} does not exist.")

    def send(self, stream: str, items: Sequence[Item]) -> None:
        if stream not in self._streams:
            self._make(stream)
        try:
            _call(
                self._client.put_log_events,
                logGroupName=self._group,
                logStreamName=stream,
                logEvents=[
                    {"timestamp": int(item.at.timestamp() * 1000), "message": item.text}
                    for item in sorted(items, key=lambda item: item.at)
                ],
            )
        except DeliveryFailed:
            self._streams.discard(stream)  # it may have been deleted
            raise

    def _make(self, stream: str) -> None:
        exists = self._client.exceptions.ResourceAlreadyExistsException
        with contextlib.suppress(exists):
            _call(
                self._client.create_log_stream,
                passing=exists,
                logGroupName=self._group,
                logStreamName=stream,
            )
        self._streams.add(stream)


class FirehoseDestination:
    """A delivery stream. It knows no streams within: each record is one line."""

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self._name = name

    def check(self) -> None:
        _call(self._client.describe_delivery_stream, DeliveryStreamName=self._name)

    def send(self, stream: str, items: Sequence[Item]) -> None:
        answer = _call(
            self._client.put_record_batch,
            DeliveryStreamName=self._name,
            Records=[{"Data": f"{item.text}\n".encode()} for item in items],
        )
        if answer.get("FailedPutCount"):
            raise DeliveryFailed(
                f"{answer['FailedPutCount']} of {len(items)} records were not taken."
            )


def make_destination(
    kind: str, place: str, *, scope: Scope, endpoint_url: str | None
) -> LogsDestination | FirehoseDestination:
    """Return the destination of a ``DestinationType``."""
    if kind == CLOUDWATCH:
        client = make_client("logs", scope=scope, endpoint_url=endpoint_url)
        return LogsDestination(client, place)
    client = make_client("firehose", scope=scope, endpoint_url=endpoint_url)
    return FirehoseDestination(client, place)


def _call(function: Any, *, passing: Any = (), **params: Any) -> Any:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return function(**params)
    except passing:
        raise
    except ClientError as error:
        told = error.response.get("Error", {})
        text = f"{told.get('Code', 'Error')}: {told.get('Message', '')}"
        raise DeliveryFailed(text[:MESSAGE_CHARS_MAX]) from error
    except BotoCoreError as error:
        raise DeliveryFailed(str(error)[:MESSAGE_CHARS_MAX]) from error
