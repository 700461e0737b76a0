"""The command line: ``tokenweir run``, ``tokenweir graphs``, ``tokenweir show``.

Commands import what they need when they run, so that ``tokenweir --help`` answers at once.
"""

from __future__ import annotations

from tokenweir.cli.main import main

__all__ = ["main"]
