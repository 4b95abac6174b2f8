"""What pyproject.toml cannot say: C modules that may be missing, and the built web console.

One makes the bundled memcached faster at plain ``get`` and ``set``. The other is loaded by engines,
never by Python, and makes commands of the service unknown there. Where there is no compiler the
build goes on without them: the server does everything in Python, and ACL alone refuses those
commands. The console is
built where Node.js is there; ``CACHEFLEET_CONSOLE=require`` makes its absence an error.
"""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

from setuptools import Extension, setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

QUICK = Extension(
    "cachefleet.engine.memserver._quick",
    ["engine/memserver/_quick.c"],
    extra_compile_args=[] if sys.platform == "win32" else ["-g0"],
    optional=True,
)
GUARD = Extension(
    "cachefleet.engine.valkey._guard",
    ["engine/valkey/_guard.c"],
    extra_compile_args=[] if sys.platform == "win32" else ["-g0"],
    optional=True,
)
BUILDER = Path(__file__).resolve().parent / "dashboard" / "build.py"


def build_console() -> None:
    """Have the console built, as far as it may and can be."""
    if not BUILDER.is_file():  # a source tree without the dashboard
        return
    main: Any = runpy.run_path(str(BUILDER))["main"]
    if main(os.environ.get("CACHEFLEET_CONSOLE", "auto")) != 0:
        raise SystemExit("the web console is required and could not be built")


class BuildPy(build_py):
    """Builds the console before the package's files are collected."""

    def run(self) -> None:
        if not self.editable_mode:  # `make install` builds it; an editor's install need not wait
            build_console()
            self.__dict__.pop("data_files", None)  # collected before there was a console
        super().run()


class Sdist(sdist):
    """Takes the built console along, so that installing needs no Node.js."""

    def run(self) -> None:
        build_console()
        super().run()


setup(ext_modules=[QUICK, GUARD], cmdclass={"build_py": BuildPy, "sdist": Sdist})
