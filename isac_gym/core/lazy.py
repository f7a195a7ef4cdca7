"""Packages that cost nothing to import: their public names are looked up on first use (PEP 562)."""

import importlib
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["lazy_exports"]


def lazy_exports(
    package: str, names: Sequence[str], *, modules: Sequence[str]
) -> Callable[[str], Any]:
    """Module-level ``__getattr__`` of a package that re-exports names of its modules.

    The package writes its imports under ``TYPE_CHECKING`` for readers and type checkers, and
    ``__getattr__ = lazy_exports(__name__, __all__, modules=(...))`` for everyone else, so that
    the command line and ``import isac_gym`` do not wait for torch.

    Args:
        package: The package's ``__name__``.
        names: Its ``__all__``.
        modules: Sub-modules that define the names in their own ``__all__``, cheapest first.
    """

    def look_up(name: str) -> Any:
        if name in names:
            for module in modules:
                home = importlib.import_module(f"{package}.{module}")
                if name in home.__all__:
                    return getattr(home, name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return look_up
