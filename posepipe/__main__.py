"""``python -m posepipe`` is the command ``posepipe``."""

from posepipe.cli import run_and_exit

if __name__ == "__main__":
    run_and_exit()
