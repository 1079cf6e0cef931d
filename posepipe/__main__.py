"""``python -m posepipe`` is the command ``posepipe``."""

from posepipe.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
