"""``python -m benchmarks``."""

from benchmarks.command import main

__all__: list[str] = []

if __name__ == "__main__":
    main()
