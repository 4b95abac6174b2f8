"""The boundary that no record crosses: one account in one region."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

SHADOW: Final = "/serverless"  # a slash: credential scopes are split at it


@dataclass(frozen=True, slots=True)
class Scope:
    """An account (12 digits) and a region (``us-east-1``); resources of two scopes never meet."""

    account: str
    region: str

    @property
    def shadow(self) -> Scope:
        """Where what stands behind an account's serverless caches is kept. No request can name it:
        no region has such a name."""
        return self if self.is_shadow else Scope(self.account, self.region + SHADOW)

    @property
    def is_shadow(self) -> bool:
        """Tell whether this is such a place."""
        return self.region.endswith(SHADOW)

    @property
    def home(self) -> Scope:
        """The account and region that customers know."""
        return Scope(self.account, self.region.removesuffix(SHADOW)) if self.is_shadow else self

    def arn(self, kind: str, name: str) -> str:
        """Return the ARN of a resource, e.g. ``arn:aws:elasticache:us-east-1:...:cluster:demo``."""
        region = self.home.region
        partition = "aws-cn" if region.startswith("cn-") else "aws"
        if region.startswith("us-gov-"):
            partition = "aws-us-gov"
        return f"arn:{partition}:elasticache:{region}:{self.account}:{kind}:{name}"
