"""Executes the notebooks from a clean kernel, as a person does who runs all cells.

``python notebooks/execute.py`` executes all, or those that are named, and fails at the first cell
that does. With ``--write`` their outputs are kept in the files.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

__all__ = ["NOTEBOOKS", "execute"]

NOTEBOOKS = sorted(Path(__file__).parent.glob("*.ipynb"))


def execute(path: Path) -> Any:
    """The notebook with the outputs of a clean kernel; CellExecutionError if a cell fails."""
    book: Any = nbformat.read(path, as_version=4)  # type: ignore[no-untyped-call]
    client = NotebookClient(book, timeout=100, record_timing=False, coalesce_streams=True)
    environment = {**os.environ, "LANGSMITH_TRACING": "false"}
    # Its kernel is this Python, whatever the kernels installed on this machine are called.
    client.create_kernel_manager()
    client.km.kernel_spec.argv[0] = sys.executable
    client.execute(env=environment, cwd=str(path.parent))
    book.metadata.language_info = {"name": "python"}  # the same on every Python
    return book


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("notebooks", nargs="*", type=Path, default=NOTEBOOKS)
    parser.add_argument("--write", action="store_true", help="keep the outputs in the files")
    options = parser.parse_args()
    for path in options.notebooks:
        print(path.name, flush=True)
        book = execute(path)
        if options.write:
            nbformat.write(book, path)  # type: ignore[no-untyped-call]


if __name__ == "__main__":
    main()
