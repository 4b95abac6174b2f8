"""What is sealed can be read by who has the secret, for a minute, and asked once."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cachefleet.provisioner.peering import seal as sealing
from cachefleet.provisioner.peering.seal import NotSealed, Seal

NOW = 1_700_000_000.0
DOCUMENT = {"at": datetime(2026, 1, 2, tzinfo=UTC), "list": ["a", 1, None], "deep": {"x": True}}


class Box(Seal):
    """A seal whose clock is told."""

    def __init__(self, secret: bytes = b"a secret of enough") -> None:
        self.at_s = NOW
        super().__init__(secret, now_s=lambda: self.at_s)


def test_it_is_read_as_it_was_said() -> None:
    assert Box().open(Box().close(DOCUMENT)) == DOCUMENT


def test_nothing_of_it_can_be_read_by_others() -> None:
    text = Box().close({"replication_secret": "swordfish"})
    assert "swordfish" not in text
    with pytest.raises(NotSealed):
        Box(b"another secret of enough").open(text)


@pytest.mark.parametrize("passed_s", [61.0, -61.0], ids=["too-old", "of-the-future"])
def test_it_is_good_for_a_minute(passed_s: float) -> None:
    box = Box()
    text = box.close(DOCUMENT)
    box.at_s += passed_s
    with pytest.raises(NotSealed):
        box.open(text)


@pytest.mark.parametrize("place", [0, 20, -3])
def test_a_changed_byte_spoils_it(place: int) -> None:
    text = bytearray(Box().close(DOCUMENT).encode())
    text[place] ^= 1
    with pytest.raises(NotSealed):
        Box().open(text.decode("latin-1"))


@pytest.mark.parametrize("text", ["", "x", "é", "[]"])
def test_what_is_nothing_is_refused(text: str) -> None:
    with pytest.raises(NotSealed):
        Box().open(text)


def test_a_question_is_taken_once() -> None:
    box = Box()
    box.take_once("a")
    with pytest.raises(NotSealed):
        box.take_once("a")
    box.at_s += 3 * sealing.GOOD_FOR_S  # by then it cannot be opened any more
    box.take_once("a")


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sealing, "SEEN_MAX", 2)
    box = Box()
    box.take_once("a")
    box.take_once("b")
    with pytest.raises(NotSealed):
        box.take_once("c")


def test_what_cannot_be_said_is_our_mistake() -> None:
    with pytest.raises(TypeError, match="object is not said"):
        Box().close({"it": object()})
