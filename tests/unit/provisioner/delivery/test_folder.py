"""Logs as files stay in their folder, whatever they are called."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from cachefleet.provisioner.destinations import folder
from cachefleet.provisioner.destinations.base import DeliveryFailed, Item
from cachefleet.provisioner.destinations.folder import FolderDestination

ITEM = Item(datetime(2026, 1, 2, tzinfo=UTC), "a line")


@pytest.mark.parametrize("name", ["/a/b", "..", ".", "a/../../b", "../../../etc"])
def test_names_lead_nowhere_else(tmp_path: Path, name: str) -> None:
    root = tmp_path / "logs"
    FolderDestination(root, name).send(name, [ITEM, ITEM])
    (written,) = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert written.parent.parent == root
    assert written.read_text() == "a line\na line\n"


def test_a_full_file_is_turned_over_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folder, "FILE_BYTES_MAX", 10)
    destination = FolderDestination(tmp_path, "group")
    for _ in range(6):
        destination.send("stream", [ITEM])
    files = sorted(path.name for path in (tmp_path / "group").iterdir())
    assert files == ["stream", "stream.1"]


def test_a_folder_that_cannot_be_is_a_failed_delivery(tmp_path: Path) -> None:
    (tmp_path / "group").write_text("a file")
    with pytest.raises(DeliveryFailed, match="cannot use"):
        FolderDestination(tmp_path, "group").check()
