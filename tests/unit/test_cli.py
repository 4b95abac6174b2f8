"""The command line's own words."""

from __future__ import annotations

from pathlib import Path

import pytest

from cachefleet.announcing import warn_of_open_doors
from cachefleet.settings import Settings


@pytest.mark.parametrize(
    ("host", "auth", "warned"),
    [
        pytest.param("127.0.0.1", "off", False, id="own-machine"),
        pytest.param("::1", "off", False, id="own-machine-ipv6"),
        pytest.param("0.0.0.0", "off", True, id="everybody"),
        pytest.param("0.0.0.0", "enforce", False, id="everybody-with-a-key"),
    ],
)
def test_warns_where_everybody_may_create_caches(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str, auth: str, warned: bool
) -> None:
    warn_of_open_doors(Settings.model_validate({"host": host, "auth": auth, "data_dir": tmp_path}))
    assert ("whoever reaches it can create and delete" in capsys.readouterr().err) is warned
