"""``tokenweir`` as its next version may be, whose tables have something that today's have not."""

from __future__ import annotations

import sys

from tokenweir.cli.main import main
from tokenweir.serving.postgres import schema

__all__ = ["NEXT"]

NEXT = """
alter table tokenweir_runs add column next_one text not null default 'new';
alter table tokenweir_threads add column next_one int not null default 1;
create index on tokenweir_runs (next_one, seq);
"""

if __name__ == "__main__":
    schema._MIGRATIONS = (*schema._MIGRATIONS, NEXT)  # type: ignore[assignment]
    schema.VERSION += 1
    sys.exit(main())
