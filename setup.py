"""The one thing pyproject.toml cannot say: a C module that may be missing.

It makes the bundled memcached faster at plain ``get`` and ``set``. Where there is no compiler
the build goes on without it, and the server does everything in Python.
"""

from __future__ import annotations

import sys

from setuptools import Extension, setup

QUICK = Extension(
    "cachefleet.engine.memserver._quick",
    ["engine/memserver/_quick.c"],
    extra_compile_args=[] if sys.platform == "win32" else ["-g0"],
    optional=True,
)

setup(ext_modules=[QUICK])
