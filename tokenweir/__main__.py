"""``python -m tokenweir``: the same as the ``tokenweir`` command."""

from __future__ import annotations

from tokenweir.cli import main

if __name__ == "__main__":
    main()
