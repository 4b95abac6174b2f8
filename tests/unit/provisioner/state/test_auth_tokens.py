"""AUTH tokens: what ROTATE and SET make of those that are accepted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.provisioner.state.auth_tokens import (
    NO_TOKENS,
    TOKENS_MAX,
    NotAfterRotation,
    Tokens,
    confirmed,
    first,
    rotated,
    token_sha256,
)


def test_created_with_one_it_is_needed() -> None:
    assert first("a") == Tokens(("a",), required=True)


def test_a_first_token_leaves_the_door_open_until_it_is_confirmed() -> None:
    introduced = rotated(NO_TOKENS, "a")
    assert introduced == Tokens(("a",), required=False)
    assert confirmed(introduced, "a") == Tokens(("a",), required=True)


def test_the_two_newest_are_accepted() -> None:
    tokens = rotated(rotated(first("a"), "b"), "c")
    assert tokens == Tokens(("c", "b"), required=True)
    assert confirmed(tokens, "c") == first("c")


def test_rotating_to_what_is_the_newest_changes_nothing() -> None:
    tokens = rotated(first("a"), "b")
    assert rotated(tokens, "b") == tokens


def test_going_back_makes_the_older_one_the_newest() -> None:
    assert rotated(rotated(first("a"), "b"), "a") == Tokens(("a", "b"), required=True)


@pytest.mark.parametrize(
    ("tokens", "token"),
    [
        pytest.param(NO_TOKENS, "a", id="none"),
        pytest.param(first("a"), "a", id="set-already"),
        pytest.param(first("a"), "b", id="unknown"),
        pytest.param(Tokens(("b", "a"), required=True), "a", id="the-older"),
        pytest.param(Tokens(("b", "a"), required=True), "c", id="a-third"),
        pytest.param(Tokens(("a",), required=False), "b", id="not-the-introduced"),
    ],
)
def test_set_confirms_the_newest_alone(tokens: Tokens, token: str) -> None:
    with pytest.raises(NotAfterRotation):
        confirmed(tokens, token)


@given(st.lists(st.tuples(st.sampled_from("rs"), st.sampled_from("abc")), max_size=20))
def test_nobody_is_locked_out_and_no_door_opens_again(steps: list[tuple[str, str]]) -> None:
    tokens = NO_TOKENS
    for step, token in steps:
        before = tokens
        if step == "r":
            tokens = rotated(tokens, token)
            assert tokens.sha256s[0] == token
            assert not before.sha256s or before.sha256s[0] in tokens.sha256s
        else:
            try:
                tokens = confirmed(tokens, token)
            except NotAfterRotation:
                continue
        assert 1 <= len(tokens.sha256s) <= TOKENS_MAX
        assert len(set(tokens.sha256s)) == len(tokens.sha256s)
        assert tokens.required or not before.required


def test_what_is_kept_is_what_engines_take() -> None:
    # The example of FIPS 180-2.
    wanted = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert token_sha256("abc") == wanted
