"""VGG16 in torch, as torchvision lays it out, and weights to test with."""

import numpy as np
import pytest

from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.weights import TORCHVISION, from_arrays
from tests.optional import torch


def torch_network():
    """Return torchvision's `features`: convolutions, ReLUs and poolings in a row."""
    parts, width = [], 3
    for channels, count in weights.BLOCKS:
        for _ in range(count):
            parts += [torch.nn.Conv2d(width, channels, 3, padding=1), torch.nn.ReLU()]
            width = channels
        parts.append(torch.nn.MaxPool2d(2, 2))
    return torch.nn.Sequential(*parts)


@pytest.fixture(scope="session")
def torch_state():
    """A state dict under torchvision's names; its features keep their size from layer to layer."""
    torch.manual_seed(0)
    network = torch_network()
    for part in network:
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
            torch.nn.init.normal_(part.bias, std=0.1)
    return {f"features.{name}": value for name, value in network.state_dict().items()}


@pytest.fixture(scope="session")
def torch_relus():
    """Returns what torch computes at every ReLU, NHWC, from a state dict and prepared input."""

    def compute(state, inputs):
        network = torch_network()
        plain = {name.removeprefix("features."): value for name, value in state.items()}
        network.load_state_dict(plain, strict=False)
        maps, found = torch.tensor(np.asarray(inputs)).permute(0, 3, 1, 2), []
        with torch.no_grad():
            for part in network:
                maps = part(maps)
                if isinstance(part, torch.nn.ReLU):
                    found.append(maps.permute(0, 2, 3, 1).numpy())
        return dict(zip(weights.RELUS, found, strict=True))

    return compute


@pytest.fixture(scope="session")
def random_arrays():
    """Returns random arrays under our names, from the first convolution to the given one."""

    def make(until, seed=0):
        rng, arrays = np.random.default_rng(seed), {}
        for name in weights.CONVOLUTIONS[: 1 + weights.CONVOLUTIONS.index(until)]:
            shape = weights.kernel_shape(name)
            spread = np.sqrt(2 / np.prod(shape[:3]))
            arrays[f"{name}/kernel"] = rng.normal(0, spread, shape).astype(np.float32)
            arrays[f"{name}/bias"] = rng.normal(0, 0.1, shape[-1:]).astype(np.float32)
        return arrays

    return make


@pytest.fixture
def random_weights(random_arrays):
    """Returns random weights to a depth."""

    def make(until="block2_conv2", preparation=TORCHVISION, seed=0):
        return from_arrays(random_arrays(until, seed), preparation, origin="a test")

    return make
