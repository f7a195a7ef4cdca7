import subprocess
import sys

import pytest

import isac_gym.core
from isac_gym.core.lazy import lazy_exports


def test_core__exports_everything_it_lists():
    for name in isac_gym.core.__all__:
        assert getattr(isac_gym.core, name) is not None


def test_core__names_come_from_their_modules():
    from isac_gym.core.random import Streams

    assert isac_gym.core.Streams is Streams


def test_lazy_exports__unknown_name_is_an_attribute_error():
    look_up = lazy_exports("isac_gym.core", ["Streams"], modules=("random",))
    with pytest.raises(AttributeError, match=r"module 'isac_gym.core' has no attribute 'Strems'"):
        look_up("Strems")
    with pytest.raises(ImportError):
        from isac_gym.core import Strems  # noqa: F401


def test_core__import_does_not_load_torch():
    code = "import sys, isac_gym.core; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
