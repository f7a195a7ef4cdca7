import sys
from types import ModuleType

import pytest

from isac_gym.core.lazy import lazy_exports


@pytest.fixture
def package(monkeypatch):
    """Package ``toy`` whose modules ``light`` and ``heavy`` note when they are looked at."""
    looked = []

    class Noting(ModuleType):
        def __getattribute__(self, name):
            if name == "__all__":
                looked.append(super().__getattribute__("__name__"))
            return super().__getattribute__(name)

    monkeypatch.setitem(sys.modules, "toy", ModuleType("toy"))
    for name, exports in (("light", ["a"]), ("heavy", ["b"])):
        module = Noting(f"toy.{name}")
        module.__all__ = exports
        for export in exports:
            setattr(module, export, f"{name}.{export}")
        module.hidden = "secret"
        monkeypatch.setitem(sys.modules, f"toy.{name}", module)
    return looked


def test_lazy_exports__finds_a_name_in_its_module(package):
    look_up = lazy_exports("toy", ["a", "b"], modules=("light", "heavy"))
    assert look_up("b") == "heavy.b"


def test_lazy_exports__stops_at_the_first_module_that_has_the_name(package):
    look_up = lazy_exports("toy", ["a", "b"], modules=("light", "heavy"))
    assert look_up("a") == "light.a"
    assert package == ["toy.light"]


@pytest.mark.parametrize("name", ["hidden", "nope", "light", "__path__"])
def test_lazy_exports__anything_else_is_an_attribute_error_without_imports(package, name):
    look_up = lazy_exports("toy", ["a", "b"], modules=("light", "heavy"))
    with pytest.raises(AttributeError, match=f"module 'toy' has no attribute '{name}'"):
        look_up(name)
    assert package == []


@pytest.mark.parametrize("name", ["isac_gym.core", "baselines", "agents"])
def test_lazy_exports__every_exported_name_of_our_packages_exists(name):
    __import__(name)
    package = sys.modules[name]
    for export in package.__all__:
        assert getattr(package, export) is not None
