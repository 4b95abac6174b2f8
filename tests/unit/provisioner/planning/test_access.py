"""Which users a node has, and what a running one lacks."""

from __future__ import annotations

import hashlib

from cachefleet.engine.valkey.acl import password_sha256
from cachefleet.provisioner.planning.access import (
    AccessUser,
    EngineNames,
    access_lines,
    internal_password,
    plan_access,
)

NAMES = EngineNames(closed=("-psync",), channels_default="resetchannels")
DIGEST = password_sha256("a password of some length")
OFF = "user default off sanitize-payload -@all"


def user(name: str, access: str = "on ~* +@all", **fields: object) -> AccessUser:
    return AccessUser(user_id=name, user_name=name, access_string=access, **fields)  # type: ignore[arg-type]


def lines(*users: AccessUser) -> tuple[str, ...]:
    return access_lines(users, names=NAMES, secret="secret")


def test_a_user_has_hashes_and_loses_what_is_the_services() -> None:
    off, line = lines(user("app", password_sha256s=(DIGEST,)))
    assert off == OFF
    rights = "resetchannels ~* +@all -psync -acl|list -acl|getuser"
    assert line == f"user app on sanitize-payload #{DIGEST} {rights}"


def test_a_user_named_default_takes_the_place_of_the_engines() -> None:
    (line,) = lines(user("default", no_password=True))
    assert line.startswith("user default on sanitize-payload nopass ")


def test_a_user_of_iam_has_a_password_that_nobody_is_told() -> None:
    (_, line) = lines(user("someone", iam=True))
    password = internal_password("secret", "someone")
    assert f"#{hashlib.sha256(password.encode()).hexdigest()}" in line
    assert password not in line
    assert password != internal_password("secret", "other") != internal_password("x", "other")


def test_the_last_switch_counts() -> None:
    (_, line) = lines(user("app", "off ON +get off", no_password=True))
    assert line.split()[2] == "off"
    assert "ON" not in line
    (_, line) = lines(user("app", "off +get On", no_password=True))
    assert line.split()[2] == "on"


def test_a_user_without_a_password_cannot_come_in() -> None:
    (_, line) = lines(user("app"))
    assert "#" not in line
    assert "nopass" not in line


def test_nobody_is_left_who_is_not_on_record() -> None:
    steps = plan_access(
        lines=lines(user("app")),
        present=["default", "app", "gone", "cachefleet", "cachefleet-replication"],
        own=["cachefleet", "cachefleet-replication"],
    )
    assert steps.removed == ("gone",)
    assert steps.severed == ()


def test_who_stands_for_another_user_now_is_severed() -> None:
    steps = plan_access(
        lines=lines(user("app"), user("other")),
        present=["default", "app", "gone"],
        own=["cachefleet"],
        severed=["app", "default", "gone", "cachefleet"],
    )
    assert steps.severed == ("app", "default")  # who is removed is cut off by that
    assert steps.removed == ("gone",)
