"""Settings come from arguments and the environment, and refuse nonsense."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from cachefleet.api.settings import ApiSettings


def test_lists_in_the_environment_are_parted_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CACHEFLEET_ALLOWED_HOSTS", "a.example, b.example,")
    monkeypatch.setenv("CACHEFLEET_AUTH", "enforce")
    settings = ApiSettings()
    assert settings.allowed_hosts == ("a.example", "b.example")
    assert settings.auth == "enforce"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("account_id", "12345678901"),
        ("auth", "maybe"),
        ("body_bytes_max", 0),
        ("default_region", ""),
    ],
)
def test_refuses_nonsense(name: str, value: object) -> None:
    with pytest.raises(ValidationError):
        ApiSettings(**{name: value})  # type: ignore[arg-type]
