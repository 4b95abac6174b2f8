"""Access keys do the same on both databases, and nobody reads a secret from their rows."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import text

from cachefleet.api.auth.stored import KEPT_S, StoredCredentials
from cachefleet.provisioner.state import access_keys
from cachefleet.provisioner.state.access_keys import KeyPair, KeyScope, TooManyKeys
from cachefleet.provisioner.state.access_tables import AccessKey
from cachefleet.provisioner.state.errors import NotFound
from cachefleet.provisioner.state.master_key import KEY_BYTES, MasterKey, UnreadableSecret
from cachefleet.provisioner.state.scope import Scope
from cachefleet.provisioner.state.store import Store
from tests.unit.api.driver import SteppedClock

HERE = Scope("", "")
KEY = MasterKey(bytes(KEY_BYTES))
OTHER_KEY = MasterKey(bytes([1] * KEY_BYTES))


async def make(store: Store, account: str = "1" * 12, scope: KeyScope = KeyScope.FULL) -> KeyPair:
    async with store.begin(HERE) as tx:
        return await access_keys.create(tx, KEY, account=account, scope=scope)


async def found(store: Store, access_key_id: str, key: MasterKey = KEY) -> KeyPair | None:
    async with store.read(HERE) as tx:
        return await access_keys.find(tx, key, access_key_id)


async def test_a_key_is_found_with_its_secret_and_its_row_tells_nothing(store: Store) -> None:
    pair = await make(store, scope=KeyScope.READ_ONLY)
    assert await found(store, pair.access_key_id) == pair
    assert pair.secret_access_key not in repr(pair)
    assert len(pair.secret_access_key) == 40
    async with store.read(HERE) as tx:
        row = (await tx.session.execute(text("SELECT * FROM access_keys"))).one()
    assert pair.secret_access_key not in str(row)
    assert await found(store, "CFAKNONE") is None


async def test_another_master_key_opens_nothing(store: Store) -> None:
    pair = await make(store)
    with pytest.raises(UnreadableSecret):
        await found(store, pair.access_key_id, OTHER_KEY)


async def test_a_row_cannot_be_given_the_secret_of_another(store: Store) -> None:
    known, victim = await make(store), await make(store)
    async with store.begin(HERE) as tx:
        one = await tx.session.get(AccessKey, known.access_key_id)
        other = await tx.session.get(AccessKey, victim.access_key_id)
        assert one is not None
        assert other is not None
        other.sealed_secret = one.sealed_secret
    with pytest.raises(UnreadableSecret):
        await found(store, victim.access_key_id)


async def test_rotation_keeps_the_old_key_for_a_while(store: Store, clock: SteppedClock) -> None:
    old = await make(store, "2" * 12, KeyScope.CONNECT)
    async with store.begin(HERE) as tx:
        new = await access_keys.rotate(tx, KEY, old.access_key_id, overlap=timedelta(seconds=60))
    assert (new.account, new.scope) == (old.account, old.scope)
    assert new.access_key_id != old.access_key_id
    clock.advance(59)
    assert await found(store, old.access_key_id) is not None
    async with store.begin(HERE) as tx:  # a second rotation does not lengthen it
        await access_keys.rotate(tx, KEY, old.access_key_id)
    clock.advance(1)
    assert await found(store, old.access_key_id) is None
    assert await found(store, new.access_key_id) is not None
    async with store.read(HERE) as tx:
        listed = await access_keys.listed(tx)
        ended = {row.access_key_id for row in listed if access_keys.has_ended(row, tx.now)}
        assert (len(listed), ended) == (3, {old.access_key_id})


async def test_a_deleted_key_is_gone(store: Store, clock: SteppedClock) -> None:
    pair = await make(store)
    stored = StoredCredentials(store, KEY, clock=clock)
    credential = await stored.secret_for(pair.access_key_id)
    assert credential is not None
    assert credential.secret_access_key == pair.secret_access_key
    async with store.begin(HERE) as tx:
        await access_keys.delete(tx, pair.access_key_id)
    clock.advance(KEPT_S)
    assert await stored.secret_for(pair.access_key_id) is None
    for act in (
        lambda tx: access_keys.delete(tx, pair.access_key_id),
        lambda tx: access_keys.rotate(tx, KEY, pair.access_key_id),
    ):
        with pytest.raises(NotFound):
            async with store.begin(HERE) as tx:
                await act(tx)


async def test_what_another_master_key_sealed_is_nobodys_key(
    store: Store, clock: SteppedClock
) -> None:
    pair = await make(store)
    assert (
        await StoredCredentials(store, OTHER_KEY, clock=clock).secret_for(pair.access_key_id)
        is None
    )


async def test_there_is_a_limit(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access_keys, "KEYS_MAX", 1)
    await make(store)
    with pytest.raises(TooManyKeys):
        await make(store)
