"""The boundary that no record crosses: one account in one region."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scope:
    """An account (12 digits) and a region (``us-east-1``); resources of two scopes never meet."""

    account: str
    region: str

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource, e.g. ``arn:aws:elasticache:us-east-1:...:cluster:demo``."""
        partition = "aws-cn" if self.region.startswith("cn-") else "aws"
        if self.region.startswith("us-gov-"):
            partition = "aws-us-gov"
        return f"arn:{partition}:elasticache:{self.region}:{self.account}:{kind}:{name}"
