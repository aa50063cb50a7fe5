"""``python -m lightning_al.cli`` is ``lightning-al``."""

from lightning_al.cli.commands import main

if __name__ == "__main__":
    main()
