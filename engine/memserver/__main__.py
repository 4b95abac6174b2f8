"""``python -m cachefleet.engine.memserver``, or this file itself.

Run as a file under ``python -I -S`` it finds the package by its own place: that leaves out
the site directories, whose ``.pth`` files cost more to read than the server to start.
"""

from __future__ import annotations

import os
import sys

if __package__ in (None, ""):
    _ROOT = os.path.abspath(__file__)
    for _ in range(4):
        _ROOT = os.path.dirname(_ROOT)
    sys.path.insert(0, _ROOT)

from cachefleet.engine.memserver.cli import main

if __name__ == "__main__":
    sys.exit(main())
