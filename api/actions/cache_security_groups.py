"""Cache security groups: a leftover of EC2-Classic, which the service refuses to every account.

Accounts of today have a VPC, and caches in it are guarded by VPC security groups. The service
answers every use of a cache security group with the refusal below, and the listing with nothing.
"""

from __future__ import annotations

from cachefleet.api.context import RequestContext
from cachefleet.api.faults import Fault
from cachefleet.api.pagination import window
from cachefleet.api.registry import Params, Result, action
from cachefleet.api.validation.refusals import wrong_value

REFUSAL = "Use of cache security groups is not permitted in this API version for your account."


@action("CreateCacheSecurityGroup")
async def create_cache_security_group(ctx: RequestContext, params: Params) -> Result:
    """Refuse."""
    raise _refusal()


@action("DescribeCacheSecurityGroups")
async def describe_cache_security_groups(ctx: RequestContext, params: Params) -> Result:
    """Return no group; refuse where one is named."""
    if params.get("CacheSecurityGroupName"):
        raise _refusal()
    window(params, ctx.paging)
    return {"CacheSecurityGroups": []}


@action("DeleteCacheSecurityGroup")
async def delete_cache_security_group(ctx: RequestContext, params: Params) -> Result:
    """Refuse."""
    raise _refusal()


@action("AuthorizeCacheSecurityGroupIngress")
async def authorize_cache_security_group_ingress(ctx: RequestContext, params: Params) -> Result:
    """Refuse."""
    raise _refusal()


@action("RevokeCacheSecurityGroupIngress")
async def revoke_cache_security_group_ingress(ctx: RequestContext, params: Params) -> Result:
    """Refuse."""
    raise _refusal()


def _refusal() -> Fault:
    return wrong_value(REFUSAL)
