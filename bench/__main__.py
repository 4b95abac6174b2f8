"""Run every measurement, one after the other: ``python -m bench``."""

from __future__ import annotations

import subprocess
import sys

MODULES = ("create", "api", "size", "failover", "datapath")

if __name__ == "__main__":
    for module in sys.argv[1:] or MODULES:
        print(f"\n## {module}\n", flush=True)
        subprocess.run([sys.executable, "-m", f"bench.{module}"], check=True)
