"""Who the other cachefleets are: what can be said of them, and what is refused with one line."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from pydantic import ValidationError

from cachefleet import cli
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
    ("peers", "secret", "line"),
    [
        pytest.param("eu-west-1", None, "cachefleet: --peers: a peer is REGION=", id="no-endpoint"),
        pytest.param("us-east-1=http://a", "s" * 32, "region of this cachefleet", id="own-region"),
        pytest.param("eu-west-1=http://a", None, "they are spoken to under a secret", id="bare"),
        pytest.param("eu-west-1=http://a", "short", "has to have 16 to 4096 bytes", id="short"),
        pytest.param("eu-west-1=http://a", "", "cannot read the peer secret", id="no-file"),
    ],
)
def test_one_line_and_exit_code_2(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    peers: str,
    secret: str | None,
    line: str,
) -> None:
    file = tmp_path / "secret"
    if secret:
        file.write_text(secret)
    with pytest.raises(typer.Exit) as ended:
        cli.serve(
            port=0,
            data_dir=tmp_path / "data",
            peers=peers,
            peer_secret_file=None if secret is None else file,
        )
    assert ended.value.exit_code == 2
    said = capsys.readouterr().err.strip()
    assert line in said
    assert "\n" not in said
