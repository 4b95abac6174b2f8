"""The master key: made once, private, and what it seals opens only as what it was sealed for."""

from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cachefleet.provisioner.state.master_key import (
    KEY_BYTES,
    MasterKey,
    UnreadableSecret,
    UnusableMasterKey,
    ensure_master_key,
    load_master_key,
)

KEY = MasterKey(bytes(range(KEY_BYTES)))


@given(secret=st.binary(max_size=200), purpose=st.text(max_size=20))
def test_opens_what_it_sealed(secret: bytes, purpose: str) -> None:
    sealed = KEY.seal(secret, purpose=purpose)
    assert KEY.open(sealed, purpose=purpose) == secret
    assert KEY.seal(secret, purpose=purpose) != sealed
    assert len(secret) < 4 or secret.hex() not in sealed


def test_refuses_another_purpose_another_key_and_damage() -> None:
    sealed = KEY.seal(b"secret", purpose="a")
    form, key_id, text = sealed.split(".")
    damaged = text[:-4] + ("A" if text[-4] != "A" else "B") + text[-3:]
    for wrong, purpose, key in (
        (sealed, "b", KEY),
        (sealed, "a", MasterKey(bytes(KEY_BYTES))),
        (f"{form}.{key_id}.{damaged}", "a", KEY),
        (f"{form}.{key_id}.", "a", KEY),
        (f"{form}.{key_id}.not base64", "a", KEY),
        (f"v2.{key_id}.{text}", "a", KEY),
        ("", "a", KEY),
    ):
        with pytest.raises(UnreadableSecret):
            key.open(wrong, purpose=purpose)


def test_derives_a_key_for_each_purpose_and_shows_none() -> None:
    assert KEY.derive("a") == KEY.derive("a") != KEY.derive("b")
    assert bytes(range(KEY_BYTES)).hex() not in repr(KEY) + KEY.key_id


def test_is_made_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    with ThreadPoolExecutor(8) as pool:
        keys = {key.key_id for key in pool.map(lambda _: ensure_master_key(path), range(16))}
    assert keys == {load_master_key(path).key_id}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["master.key"]


@pytest.mark.parametrize("text", ["", "00" * 31, "zz" * 32, "\xff" * 64], ids=repr)
def test_refuses_a_damaged_file_and_does_not_replace_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "master.key"
    path.touch(mode=0o600)
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UnusableMasterKey, match="damaged"):
        ensure_master_key(path)
    assert path.read_text(encoding="latin-1") == text


def test_refuses_a_file_that_others_can_read(tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    ensure_master_key(path)
    os.chmod(path, 0o640)
    with pytest.raises(UnusableMasterKey, match="chmod 600"):
        load_master_key(path)


def test_says_where_there_is_none_and_none_can_be_made(tmp_path: Path) -> None:
    with pytest.raises(UnusableMasterKey, match="cannot read"):
        load_master_key(tmp_path / "master.key")
    with pytest.raises(UnusableMasterKey, match="cannot make"):
        ensure_master_key(tmp_path / "none" / "master.key")
