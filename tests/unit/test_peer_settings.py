"""Who the other cachefleets are: what can be said of them, and what is refused with one line."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from cachefleet.peers import open_peers
from cachefleet.provisioner.clock import SystemClock
from cachefleet.serving import CannotStart
from cachefleet.settings import PEERS_MAX, Settings

SECRET = Path("secret")


def settings(peers: str, *, secret: Path | None = SECRET) -> Settings:
    return Settings.model_validate(
        {"peers": peers, "peer_secret_file": secret, "default_region": "us-east-1"}
    )


@pytest.mark.parametrize(
    ("peers", "regions"),
    [
        ("", {}),
        ("eu-west-1=http://127.0.0.1:9379", {"eu-west-1": "http://127.0.0.1:9379"}),
        (
            " eu-west-1=http://far:9379/ , ap-south-1=https://[::1]:1,",
            {"eu-west-1": "http://far:9379", "ap-south-1": "https://[::1]:1"},
        ),
    ],
)
def test_peers_are_told(peers: str, regions: dict[str, str]) -> None:
    assert settings(peers).peer_regions == regions


@pytest.mark.parametrize(
    ("peers", "sentence"),
    [
        ("eu-west-1", "a peer is REGION=http://HOST:PORT, not eu-west-1"),
        ("eu-west-1=", "a peer is REGION="),
        ("eu-west-1=127.0.0.1:9379", "a peer is REGION="),
        ("eu-west-1=http://user:secret@far:1", "a peer is REGION="),
        ("eu-west-1=http://far/path", "a peer is REGION="),
        ("Frankfurt=http://far", "a peer is REGION="),
        ("eu-west-1=http://a,eu-west-1=http://b", "eu-west-1 has one peer"),
        ("us-east-1=http://near", "us-east-1 is the region of this cachefleet"),
        (",".join(f"r-{n}=http://a" for n in range(PEERS_MAX + 1)), "peers at most"),
    ],
)
def test_what_is_no_peer_is_refused(peers: str, sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        settings(peers)


def test_peers_need_a_secret() -> None:
    with pytest.raises(ValidationError, match="give peer_secret_file"):
        settings("eu-west-1=http://far", secret=None)


@pytest.mark.parametrize(
    ("secret", "sentence"),
    [(b"short", "has to have 16 to 4096 bytes"), (b" " * 40, "has to have"), (None, "cannot read")],
)
def test_what_is_no_secret_is_refused(tmp_path: Path, secret: bytes | None, sentence: str) -> None:
    file = tmp_path / "secret"
    if secret is not None:
        file.write_bytes(secret)
    with pytest.raises(CannotStart, match=sentence) as refusal:
        open_peers(settings("eu-west-1=http://far", secret=file), SystemClock())
    assert "\n" not in str(refusal.value)
