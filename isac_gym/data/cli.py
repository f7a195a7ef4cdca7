"""The commands ``isac data fetch`` and ``isac data list``."""

import typer

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add ``data`` to the command line."""
