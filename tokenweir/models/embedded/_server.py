"""The process of the embedded model: ``python -m tokenweir.models.embedded._server GGUF PORT``.

Prints ``ready URL`` or ``failed REASON`` on stdout, then serves until its stdin closes.
"""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path
from typing import Any

__all__ = ["main"]

_SLOTS = 4
"""Concurrent generations; more calls wait for their turn."""

_CONTEXT = 8_192
"""Tokens of context, shared by the slots; SmolLM2 was trained on this many."""


def main() -> None:
    """Load the model, report it, and run as long as the parent."""
    gguf, port = sys.argv[1], int(sys.argv[2])
    # llama.cpp writes to stdout as well: keep the pipe for ourselves, and give it stderr.
    answer = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    try:
        server = _load(gguf, port)
    except Exception as error:  # noqa: BLE001 - it is told to the parent
        answer.write(f"failed {' '.join(str(error).split()) or type(error).__name__}\n")
        os._exit(1)
    answer.write(f"ready {server.listening_address}\n")
    answer.close()
    sys.stdin.read()
    # Not a normal exit: the server's destructor crashes while a generation is under way.
    os._exit(0)


def _load(gguf: str, port: int) -> Any:
    import xllamacpp

    if port:
        # llama.cpp only says that it could not start.
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise OSError(f"cannot bind: {error.strerror}") from error
    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.model_alias = {Path(gguf).stem}
    params.hostnames = ["127.0.0.1"]
    params.port = port
    params.n_parallel = _SLOTS
    # Its threads spin while they wait for each other: on busy cores, twice as many threads are ten
    # times slower.
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = _threads()
    params.n_ctx = _CONTEXT
    params.kv_unified = True
    params.use_jinja = True
    params.ui = False
    params.verbosity = 3 if os.environ.get("TOKENWEIR_DEBUG") else -1
    if Path(gguf).name.startswith("SmolLM2-135M"):
        _suit_smollm2(params)
    return xllamacpp.Server(params)


def _threads() -> int:
    """Half of the cores that this process may use."""
    usable = getattr(os, "sched_getaffinity", None)
    cores = len(usable(0)) if usable else os.cpu_count() or 1
    return max(1, cores // 2)


def _suit_smollm2(params: Any) -> None:
    """Defaults for such a small model; parameters of a request override them."""
    # Its own template does not support tools.
    template = Path(__file__).with_name("_smollm2_tools.jinja")
    params.chat_template = template.read_text(encoding="utf-8")
    # Without these it repeats itself and rarely stops.
    params.sampling.temp = 0.6
    params.sampling.top_p = 0.92
    params.sampling.penalty_repeat = 1.1
    params.sampling.dry_multiplier = 0.8
    params.n_predict = 200


if __name__ == "__main__":
    main()
