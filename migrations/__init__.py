"""The schema's history, and the two things that are done with it: upgrade and check.

Files are named ``NNNN_expand_<what>.py`` or ``NNNN_contract_<what>.py``: a change that removes
something comes in two releases, so that the previous release still runs on the wider schema.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from alembic.config import Config

VERSIONS = Path(__file__).parent / "versions"


def config(url: str) -> Config:
    """Return Alembic's configuration for the database at *url*; no ini file is involved."""
    from alembic.config import Config  # half a second that most starts do not need

    settings = Config()
    settings.set_main_option("script_location", str(Path(__file__).parent))
    # ConfigParser reads % as interpolation; passwords in URLs are full of them.
    settings.set_main_option("sqlalchemy.url", url.replace("%", "%%"))
    return settings


def upgrade(url: str) -> None:
    """Bring the database at *url* to the newest revision; a no-op where it is there."""
    from alembic import command

    command.upgrade(config(url), "head")


def known_revisions() -> tuple[str, ...]:
    """Return all revisions, newest first. A revision is named as its file is."""
    return tuple(sorted((path.stem for path in VERSIONS.glob("[0-9]*.py")), reverse=True))
