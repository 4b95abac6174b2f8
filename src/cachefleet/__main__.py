"""``python -m cachefleet`` is the ``cachefleet`` command."""

from __future__ import annotations

from cachefleet.cli import main

if __name__ == "__main__":
    main()
