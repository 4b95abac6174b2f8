"""Where the engine module is that makes commands of the service unknown (``_guard.c``).

It is built with the package where there is a C compiler. Engines that cannot load it go without:
then ACL refuses those commands all the same, and says so.
"""

from __future__ import annotations

import sysconfig
from pathlib import Path

# How the control plane spells commands of which only some subcommands are the service's: engines
# before 7.2 do not tell the module who is asking. Case does not matter to engines.
OWN_SPELLING = {"ACL": "aCL", "CLUSTER": "cLUSTER"}


def guard_module() -> str | None:
    """Return the path of the module; None where it was not built."""
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    path = Path(__file__).with_name(f"_guard{suffix}")
    return str(path.resolve()) if path.is_file() else None
