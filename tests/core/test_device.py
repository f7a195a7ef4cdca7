import pytest
import torch

from isac_gym.core.device import torch_device
from isac_gym.core.errors import ScenarioError


def test_torch_device__is_that_of_torch():
    assert torch_device("cpu") == torch.device("cpu")
    assert torch_device("meta").type == "meta"


@pytest.mark.parametrize("name", ["gpu7", "", "cpu:x", "cuda:99"])
def test_torch_device__refuses_what_is_not_there(name):
    with pytest.raises(ScenarioError, match=f"device '{name}' is not available"):
        torch_device(name)
