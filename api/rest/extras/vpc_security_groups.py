"""``/v1/vpc-security-groups``: the rules of VPC security groups, for where there is no EC2 to ask.

A group that is defined here goes before one of the same id in EC2. The group ``default`` is that of
caches which name none. Rules count where the server was started with ``--enforce-security-groups``;
defined they can be anywhere.
"""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, Final

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from sqlalchemy import func, select

from cachefleet.api.faults import Fault
from cachefleet.api.front_end import FrontEnd
from cachefleet.api.rest.requests import scope_of
from cachefleet.api.validation.refusals import wrong_value
from cachefleet.provisioner.state.access_tables import VpcSecurityGroup
from cachefleet.provisioner.state.store import Transaction

GROUPS_MAX = 500  # of a region, as in EC2
RULES_MAX = 60  # of a group, as in EC2
PORT_MAX = 65_535
_ID: Final = re.compile(r"default|sg-[0-9a-z]{1,40}", re.ASCII)

GroupId = Annotated[str, Path(max_length=64)]


class IngressRule(BaseModel):
    """Clients of a network may connect to a range of ports."""

    model_config = ConfigDict(extra="forbid")

    Cidr: str = Field(max_length=64, description="Such as 10.0.0.0/8 or 127.0.0.1/32")
    FromPort: int = Field(0, ge=0, le=PORT_MAX)
    ToPort: int = Field(PORT_MAX, ge=0, le=PORT_MAX)

    @field_validator("Cidr")
    @classmethod
    def _is_a_network(cls, value: str) -> str:
        return str(ipaddress.ip_network(value))

    @model_validator(mode="after")
    def _is_a_range(self) -> IngressRule:
        if self.FromPort > self.ToPort:
            raise ValueError("FromPort is above ToPort")
        return self


class IngressRules(BaseModel):
    """All rules of a group."""

    model_config = ConfigDict(extra="forbid")

    Ingress: list[IngressRule] = Field(max_length=RULES_MAX)


class SecurityGroup(BaseModel):
    """A group that is defined here."""

    SecurityGroupId: str
    Ingress: list[IngressRule]


class SecurityGroupList(BaseModel):
    """All groups that are defined here, in order of id."""

    SecurityGroups: list[SecurityGroup]


def router(front_end: FrontEnd) -> APIRouter:
    """Return the routes."""
    routes = APIRouter(tags=["VPC security groups"])
    store = front_end.services.store

    @routes.get(
        "/v1/vpc-security-groups",
        operation_id="ListVpcSecurityGroups",
        summary="The VPC security groups that are defined here.",
    )
    async def list_groups(request: Request) -> SecurityGroupList:
        """Those of EC2 are not listed."""
        scope = scope_of(request)
        async with store.read(scope) as tx:
            query = select(VpcSecurityGroup).where(
                VpcSecurityGroup.account == scope.account, VpcSecurityGroup.region == scope.region
            )
            rows = (await tx.session.scalars(query.order_by(VpcSecurityGroup.group_id))).all()
            return SecurityGroupList(SecurityGroups=[_view(row) for row in rows])

    @routes.put(
        "/v1/vpc-security-groups/{SecurityGroupId}",
        operation_id="PutVpcSecurityGroup",
        summary="Define a VPC security group, or replace its rules.",
    )
    async def put_group(
        request: Request,
        SecurityGroupId: GroupId,  # noqa: N803
        rules: IngressRules,
    ) -> SecurityGroup:
        """Clients that no rule lets in any more are cut off within a second."""
        if not _ID.fullmatch(SecurityGroupId):
            raise wrong_value("A security group id is sg- and letters or digits, or default.")
        scope = scope_of(request)
        ingress = [
            {"cidr": rule.Cidr, "from_port": rule.FromPort, "to_port": rule.ToPort}
            for rule in rules.Ingress
        ]
        async with store.begin(scope) as tx:
            row = await _find(tx, SecurityGroupId)
            if row is None:
                await _require_room(tx)
                row = VpcSecurityGroup(
                    account=scope.account, region=scope.region, group_id=SecurityGroupId
                )
                tx.session.add(row)
            row.ingress = ingress
            return _view(row)

    @routes.delete(
        "/v1/vpc-security-groups/{SecurityGroupId}",
        operation_id="DeleteVpcSecurityGroup",
        summary="Forget a VPC security group that is defined here.",
        status_code=204,
    )
    async def delete_group(request: Request, SecurityGroupId: GroupId) -> Response:  # noqa: N803
        """What EC2 says of the id counts from then on."""
        async with store.begin(scope_of(request)) as tx:
            row = await _find(tx, SecurityGroupId)
            if row is None:
                raise wrong_value(f"The security group {SecurityGroupId} is not defined here.")
            await tx.session.delete(row)
        return Response(status_code=204)

    return routes


async def _find(tx: Transaction, group_id: str) -> VpcSecurityGroup | None:
    return await tx.session.get(
        VpcSecurityGroup, (tx.scope.account, tx.scope.region, group_id), with_for_update=True
    )


async def _require_room(tx: Transaction) -> None:
    query = select(func.count()).where(
        VpcSecurityGroup.account == tx.scope.account, VpcSecurityGroup.region == tx.scope.region
    )
    if int(await tx.session.scalar(query) or 0) >= GROUPS_MAX:
        raise Fault(
            "InvalidParameterValueException",
            f"A region can have {GROUPS_MAX} security groups defined here.",
        )


def _view(row: VpcSecurityGroup) -> SecurityGroup:
    return SecurityGroup(
        SecurityGroupId=row.group_id,
        Ingress=[
            IngressRule(Cidr=rule["cidr"], FromPort=rule["from_port"], ToPort=rule["to_port"])
            for rule in row.ingress
        ],
    )
