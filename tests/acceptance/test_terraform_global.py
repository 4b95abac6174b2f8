"""Terraform with two regions: global datastores applied, found as they were, changed, destroyed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.length import at_length
from tests.support.server import Server
from tests.support.terraform import Terraform, find_mirror

# The provider looks at each group 30 seconds after it asked for it: minutes, one after the other.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(1200)]

SOURCES = Path(__file__).with_name("terraform_global")


@at_length
def test_global_datastores_are_applied_changed_and_destroyed(tmp_path: Path) -> None:
    mirror = find_mirror()
    if mirror is None:
        pytest.skip("the AWS provider is in no mirror; name one with TF_PLUGINS")
    folder = tmp_path / "terraform"
    folder.mkdir()
    with Server(tmp_path / "data") as server:
        terraform = Terraform(server, folder, mirror, sources=SOURCES)
        begun = terraform("init")
        assert begun.returncode == 0, begun.stderr
        for variables, said in (([], "6 added"), (["-var=changed=true"], "0 added")):
            applied = terraform("apply", "-auto-approve", *variables)
            assert applied.returncode == 0, applied.stdout + applied.stderr
            assert said in applied.stdout
            planned = terraform("plan", "-detailed-exitcode", *variables)
            assert planned.returncode == 0, planned.stdout + planned.stderr
        told = json.loads(terraform("output", "-json").stdout)["members"]["value"]
        assert told == {"ldgnf-plain": False, "ldgnf-shards": True}
        for region, count in (("us-east-1", 2), ("eu-west-1", 2)):
            client = server.client("111122224444", region)
            groups = client.describe_replication_groups()["ReplicationGroups"]
            assert len(groups) == count
            assert groups[0]["GlobalReplicationGroupInfo"]["GlobalReplicationGroupId"]
            plain = next(g for g in groups if not g["ClusterEnabled"])
            assert plain["CacheNodeType"] == "cache.r7g.xlarge"
        destroyed = terraform("destroy", "-auto-approve", "-var=changed=true")
        assert destroyed.returncode == 0, destroyed.stdout + destroyed.stderr
        assert "6 destroyed" in destroyed.stdout
        assert client.describe_global_replication_groups()["GlobalReplicationGroups"] == []
        assert client.describe_replication_groups()["ReplicationGroups"] == []
