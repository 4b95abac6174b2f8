"""Security groups and their members from an EC2 endpoint, through boto3, in a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from cachefleet.provisioner.planning.security_groups import rules_of
from cachefleet.provisioner.reconciler.security_groups import (
    DEFAULT_GROUP,
    Found,
    RulesUnknown,
)
from cachefleet.provisioner.state.scope import Scope

CONNECT_TIMEOUT_S, READ_TIMEOUT_S = 2.0, 5.0
CLIENTS_MAX = 64  # an account and region each
GROUPS_MAX = 1000  # that rules of one scope may name


class Ec2Rules:
    """Implements :class:`~.security_groups.RuleSource` over EC2 at *endpoint_url*.

    With the machine's AWS credentials, else with the account's id, which moto takes for it.
    """

    def __init__(self, endpoint_url: str) -> None:
        self._endpoint_url = endpoint_url
        self._clients: dict[Scope, Any] = {}

    async def read(self, scope: Scope, group_ids: Sequence[str]) -> Found:
        """Return the rules of those of *group_ids* that there are.

        Raises:
            RulesUnknown: EC2 did not answer, or refused.
        """
        try:
            return await asyncio.to_thread(self._read, scope, group_ids)
        except (BotoCoreError, ClientError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RulesUnknown(f"EC2 at {self._endpoint_url}: {reason}") from error

    def _read(self, scope: Scope, group_ids: Sequence[str]) -> Found:
        client = self._client(scope)
        # By a filter: an id that is not there is no error then.
        found = client.describe_security_groups(
            Filters=[{"Name": "group-id", "Values": list(group_ids)}]
        )["SecurityGroups"]
        rules = {group["GroupId"]: rules_of(group.get("IpPermissions", ())) for group in found}
        if DEFAULT_GROUP in group_ids:
            default = client.describe_security_groups(
                Filters=[{"Name": "group-name", "Values": [DEFAULT_GROUP]}]
            )["SecurityGroups"]
            rules[DEFAULT_GROUP] = [
                rule for group in default for rule in rules_of(group.get("IpPermissions", ()))
            ]
        named = {rule.group_id for one in rules.values() for rule in one if rule.group_id}
        return Found(rules, self._members(client, sorted(named)[:GROUPS_MAX]))

    def _members(self, client: Any, group_ids: Sequence[str]) -> dict[str, list[str]]:
        """Return the private addresses of instances, by the groups that they are in."""
        members: dict[str, list[str]] = {}
        if not group_ids:
            return members
        pages = client.get_paginator("describe_instances").paginate(
            Filters=[{"Name": "instance.group-id", "Values": list(group_ids)}]
        )
        for page in pages:
            for reservation in page["Reservations"]:
                for instance in reservation["Instances"]:
                    address = instance.get("PrivateIpAddress")
                    for group in instance.get("SecurityGroups", ()):
                        if address and group["GroupId"] in group_ids:
                            members.setdefault(group["GroupId"], []).append(address)
        return members

    def _client(self, scope: Scope) -> Any:
        client = self._clients.get(scope)
        if client is None:
            import boto3

            session = boto3.Session()
            own: dict[str, str] = {}
            if session.get_credentials() is None:
                own = {
                    "aws_access_key_id": scope.account,
                    "aws_secret_access_key": "cachefleet",
                }
            client = session.client(
                "ec2",
                endpoint_url=self._endpoint_url,
                region_name=scope.region,
                config=Config(
                    connect_timeout=CONNECT_TIMEOUT_S,
                    read_timeout=READ_TIMEOUT_S,
                    retries={"total_max_attempts": 1},
                ),
                **own,
            )
            if len(self._clients) >= CLIENTS_MAX:
                self._clients.pop(next(iter(self._clients)))
            self._clients[scope] = client
        return client
