"""ARNs are checked in the service's order, and the first failure is the answer."""

from __future__ import annotations

import pytest

from cachefleet.api.arns import KINDS, Arn, parse_arn
from cachefleet.api.faults import Fault
from cachefleet.provisioner.state.scope import Scope

SCOPE = Scope("123456789012", "eu-west-1")
PREFIX = "arn:aws:elasticache:eu-west-1:123456789012"


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_reads_what_a_scope_writes(kind: str) -> None:
    assert parse_arn(SCOPE.arn(kind, "demo"), SCOPE) == Arn(kind, "demo")


def test_names_are_lower_cased() -> None:
    assert parse_arn(f"{PREFIX}:cluster:Demo-1", SCOPE) == Arn("cluster", "demo-1")


@pytest.mark.parametrize(
    ("region", "partition"),
    [("cn-north-1", "aws-cn"), ("us-gov-west-1", "aws-us-gov"), ("us-east-1", "aws")],
)
def test_every_region_has_its_partition(region: str, partition: str) -> None:
    scope = Scope("123456789012", region)
    arn = f"arn:{partition}:elasticache:{region}:123456789012:user:u"
    assert parse_arn(arn, scope) == Arn("user", "u")
    with pytest.raises(Fault, match=f"Expected value is {partition}$"):
        parse_arn(arn.replace(f":{partition}:", ":aws-iso:"), scope)


@pytest.mark.parametrize(
    ("arn", "code", "fragment"),
    [
        pytest.param("demo", "InvalidARN", "does not have 7 components.", id="no-arn"),
        pytest.param(f"{PREFIX}:cluster", "InvalidARN", "7 components.", id="six-parts"),
        pytest.param(f"{PREFIX}:cluster:a:b", "InvalidARN", "7 components.", id="eight-parts"),
        pytest.param("nra" + PREFIX[3:] + ":cluster:a", "InvalidARN", "7 comp", id="no-prefix"),
        pytest.param(
            "arn:aws-cn:s3:eu-west-2:1:bad:a",
            "InvalidARN",
            "partition field is wrong. Expected value is aws",
            id="partition-comes-first",
        ),
        pytest.param(
            "arn:aws:s3:eu-west-2:1:bad:a",
            "InvalidARN",
            "service field is wrong. Expected value is elasticache",
            id="then-service",
        ),
        pytest.param(
            "arn:aws:elasticache:eu-west-2:1:bad:a",
            "InvalidParameterValue",
            "Unauthorized call. Please check the region or customer id",
            id="then-region",
        ),
        pytest.param(
            "arn:aws:elasticache:eu-west-1:1:bad:a",
            "InvalidParameterValue",
            "The resource ARN does not belong to the caller's account.",
            id="then-account",
        ),
        pytest.param(f"{PREFIX}:bad:a", "InvalidARN", "bad:a", id="then-kind"),
        pytest.param(f"{PREFIX}:cluster:", "InvalidARN", "cluster:", id="no-name"),
        pytest.param(
            "arn:aws:elasticache::123456789012:globalreplicationgroup:g",
            "InvalidParameterValue",
            "Unauthorized call.",
            id="global-datastore-has-no-region",
        ),
    ],
)
def test_refuses(arn: str, code: str, fragment: str) -> None:
    with pytest.raises(Fault) as refusal:
        parse_arn(arn, SCOPE)
    assert refusal.value.code == code
    assert refusal.value.status == 400
    assert fragment in refusal.value.message
