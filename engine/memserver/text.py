"""All text commands put together for one server's settings."""

from __future__ import annotations

from cachefleet.engine.memserver.admin import OPERATOR_COMMANDS, OTHER_COMMANDS
from cachefleet.engine.memserver.commands import COMMANDS
from cachefleet.engine.memserver.meta import META_COMMANDS
from cachefleet.engine.memserver.session import CommandTable
from cachefleet.engine.memserver.settings import Settings


def text_commands(settings: Settings) -> CommandTable:
    """The commands a client may use."""
    table = {**COMMANDS, **META_COMMANDS, **OTHER_COMMANDS}
    if settings.admin_commands:
        table |= OPERATOR_COMMANDS
    return table
