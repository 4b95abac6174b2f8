"""Terraform with the AWS provider as it is: what was applied is what a plan then finds."""

from __future__ import annotations

import pytest

from tests.support.terraform import BackgroundRun, TerraformRun

# The provider looks at a cache 30 seconds after it asked for it, and again after 10 or 20.
pytestmark = [pytest.mark.engine, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def run(terraform: BackgroundRun) -> TerraformRun:
    """Give what came of init, apply, plan and destroy; it began when the session did."""
    return terraform.result()


def test_every_resource_is_applied(run: TerraformRun) -> None:
    assert run.applied.returncode == 0, run.applied.stderr
    assert "18 added" in run.applied.stdout


def test_a_plan_finds_nothing_to_change(run: TerraformRun) -> None:
    assert run.planned.returncode == 0, run.planned.stdout + run.planned.stderr


def test_what_terraform_tells_of_leads_to_engines(run: TerraformRun) -> None:
    told = run.answers
    assert told["redis_policy"] == "allkeys-lru"
    assert told["maxmemory"] == 536870912 * 3 // 4
    assert told["memcached_version"] == "1.6.22"
    assert told["plain_roles"] == ["master", "slave"]
    assert told["shards"] == 2
    assert (told["seed"], told["sown"]) == ("sown", "sown")
    assert told["retention"] == 2
    assert told["serverless_bytes"] == 2 << 30


def test_types_versions_and_parameters_are_changed_in_place(run: TerraformRun) -> None:
    assert run.changed.returncode == 0, run.changed.stderr
    assert "0 added, 7 changed, 0 destroyed" in run.changed.stdout, run.changed.stdout
    assert run.replanned.returncode == 0, run.replanned.stdout + run.replanned.stderr
    told = run.answers_changed
    assert told["redis_policy"] == "allkeys-lfu"
    assert told["maxmemory"] == 1471026299 * 3 // 4
    assert told["retention"] == 3
    assert told["serverless_bytes"] == 3 << 30
    assert told["plain_roles"] == ["master", "slave"]


def test_a_token_is_rotated(run: TerraformRun) -> None:
    assert run.answers["tokens"] == [True, False]
    assert run.answers_changed["tokens"] == [True, True]


def test_users_are_as_terraform_wrote_them(run: TerraformRun) -> None:
    assert run.answers["users"] == ["on ~app:* -@all +@read", ["tf-app", "tf-default", "tf-late"]]
    assert run.answers_changed["users"][0] == "on ~app:* +@all"


def test_everything_is_destroyed(run: TerraformRun) -> None:
    assert run.destroyed.returncode == 0, run.destroyed.stderr
    assert "18 destroyed" in run.destroyed.stdout
    assert run.left == []
    assert "tf-plain-final" in run.snapshots
