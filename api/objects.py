"""Asks S3 and KMS what a request names: whether a bucket, an object or a key can be used.

Questions only, in threads; what is done with the answer is the provisioner's. A service that does
not answer is nobody's mistake: the request may be repeated.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.provisioner.snapshots import keys, s3
from cachefleet.provisioner.snapshots.store import StoreUnavailable

T = TypeVar("T")


async def check_objects(ctx: RequestContext, arns: Sequence[str]) -> None:
    """Refuse ARNs of objects that cannot be read.

    Raises:
        Fault: ``InvalidParameterValue``.
    """
    place = _place(ctx)

    def ask() -> None:
        for arn in arns:
            s3.check_object(place, s3.parse_object_arn(arn))

    await _asked(ask)


async def check_bucket(ctx: RequestContext, bucket: str, objects: Sequence[str]) -> None:
    """Refuse a bucket that *objects* cannot be written to.

    Raises:
        Fault: ``InvalidParameterValue``.
    """
    place = _place(ctx)
    await _asked(lambda: s3.check_target(place, bucket, objects))


async def check_key(ctx: RequestContext, key_id: str) -> str:
    """Return the ARN of a key that data can be encrypted with.

    Raises:
        Fault: ``InvalidParameterValue``.
    """

    def ask() -> str:
        return keys.describe_key(
            key_id, endpoint_url=ctx.settings.kms_endpoint_url, region=ctx.region
        )

    return await _asked(ask)


async def _asked(question: Callable[[], T]) -> T:
    try:
        return await asyncio.to_thread(question)
    except (s3.S3Refused, keys.KeyUnavailable) as refusal:
        raise wrong_value(str(refusal)) from refusal
    except StoreUnavailable as error:
        raise Fault("ServiceUnavailable", f"{error}.") from error


def _place(ctx: RequestContext) -> s3.S3Place:
    return s3.S3Place(ctx.settings.s3_endpoint_url, ctx.region)
