import collections
import os
import pickle
import sys
import zipfile

import h5py
import numpy as np
import pytest
import safetensors.numpy
import torch

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import foreign, layers, torch_file, weights
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION


@pytest.fixture(scope="module")
def shallow(torch_state):
    """The first three convolutions, and a layer that is none."""
    kept = {name: value for name, value in torch_state.items() if int(name.split(".")[1]) <= 5}
    return collections.OrderedDict(kept, **{"classifier.0.bias": torch.ones(7)})


def assert_equals_torch(found, state):
    assert found.preparation == TORCHVISION
    for name, place in zip(found.kernels, foreign.TORCH_PLACES, strict=False):
        theirs = state[f"features.{place}.weight"].numpy()
        np.testing.assert_array_equal(found.kernels[name], theirs.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(found.biases[name], state[f"features.{place}.bias"].numpy())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_torchs_file_is_read_in_both_forms(zipped, tmp_path, shallow):
    torch.save(shallow, tmp_path / "vgg.pth", _use_new_zipfile_serialization=zipped)
    found = foreign.read(tmp_path / "vgg.pth")
    assert found.deepest == "relu2_1"
    assert_equals_torch(found, shallow)


@pytest.mark.slow
def test_all_thirteen_convolutions_are_read(tmp_path, torch_state):
    torch.save(torch_state, tmp_path / "vgg.pth")
    found = foreign.read(tmp_path / "vgg.pth")
    assert list(found.kernels) == list(layers.CONVOLUTIONS)
    assert_equals_torch(found, torch_state)


def test_parameters_halves_and_views_are_read(tmp_path):
    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {
        "parameter": torch.nn.Parameter(base),
        "half": base.half(),
        "turned": base.permute(2, 0, 1),
        "part": base[1, 1:],
        "number": 5,
    }
    for zipped in (True, False):
        torch.save({"state_dict": state}, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        found = torch_file.read(tmp_path / "a.pt")
        assert found.keys() == state.keys() - {"number"}
        for name, value in found.items():
            np.testing.assert_array_equal(value, state[name].detach().numpy())


def test_safetensors_are_read(tmp_path, shallow):
    arrays = {name: value.numpy() for name, value in shallow.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "vgg.safetensors")
    assert_equals_torch(foreign.read(tmp_path / "vgg.safetensors"), shallow)


@pytest.mark.parametrize(
    "place",
    [
        "{0}/{0}_{1}_1:0",  # Keras' published file
        "{0}/{0}/{1}:0",  # save_weights
        "model_weights/{0}/{0}/{1}:0",  # a whole model
    ],
)
def test_keras_file_is_read(place, tmp_path, random_arrays):
    arrays = random_arrays("block2_conv1")
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split("/")
            file[place.format(layer, kind[0].upper())] = array
        file["optimizer_weights/block1_conv1/kernel"] = np.ones((3, 3, 3, 64), np.float32)
    found = foreign.read(tmp_path / "vgg.h5")
    assert found.preparation == OXFORD
    for layer in found.kernels:
        np.testing.assert_array_equal(found.kernels[layer], arrays[f"{layer}/kernel"])
        np.testing.assert_array_equal(found.biases[layer], arrays[f"{layer}/bias"])


def test_the_authors_kernels_under_torchs_names_want_the_authors_input(tmp_path):
    shipped = weights.shipped()
    kernel = np.ascontiguousarray(shipped.kernels["block1_conv1"].transpose(3, 2, 0, 1))
    arrays = {"features.0.weight": kernel, "features.0.bias": shipped.biases["block1_conv1"]}
    safetensors.numpy.save_file(arrays, tmp_path / "caffe.safetensors")
    assert foreign.read(tmp_path / "caffe.safetensors").preparation == OXFORD


class Trap:
    """Runs a command when unpickled."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_a_file_that_runs_code_is_refused_and_runs_nothing(zipped, tmp_path):
    content = {"features.0.weight": torch.ones(3), "more": Trap(tmp_path / "victim")}
    torch.save(content, tmp_path / "trap.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"would run code when read \(.*system\), and is refused"):
        foreign.read(tmp_path / "trap.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_file_cut_off_is_refused(share, zipped, tmp_path, shallow):
    path = tmp_path / "vgg.pth"
    torch.save(shallow, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"vgg\.pth is damaged, or not a file of torch\.save"):
        foreign.read(path)


@pytest.mark.parametrize("suffix", [".safetensors", ".h5"])
@pytest.mark.parametrize("content", [b"", b"not this", b"\x89HDF\r\n\x1a\n" + bytes(50)])
def test_other_content_is_refused(suffix, content, tmp_path):
    path = tmp_path / f"vgg{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        foreign.read(path)


def test_a_tensor_beyond_its_storage_is_refused(tmp_path):
    torch.save({"features.0.weight": torch.ones(4)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as old,
        zipfile.ZipFile(tmp_path / "b.pth", "w") as new,
    ):
        for name in old.namelist():
            short = name.endswith("data/0")
            new.writestr(name, old.read(name)[: 8 if short else None])
    with pytest.raises(UserError, match="2 numbers where 4 should be"):
        foreign.read(tmp_path / "b.pth")


def test_names_of_another_network_are_refused(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.ones(3)}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=r"no features\.0\.weight; it holds layer1\.0\.conv1"):
        foreign.read(tmp_path / "resnet.pth")
    with h5py.File(tmp_path / "dense.h5", "w") as file:
        file["dense/kernel:0"] = np.ones(3)
    with pytest.raises(UserError, match="no block1_conv1/kernel; it holds nothing"):
        foreign.read(tmp_path / "dense.h5")


def test_wrong_shapes_are_refused(tmp_path):
    torch.save({"features.0.weight": torch.ones(64, 3, 3)}, tmp_path / "flat.pth")
    with pytest.raises(UserError, match=r"shape \[64, 3, 3\], but a kernel has four axes"):
        foreign.read(tmp_path / "flat.pth")
    state = {"features.0.weight": torch.ones(32, 3, 3, 3), "features.0.bias": torch.ones(32)}
    torch.save(state, tmp_path / "narrow.pth")
    with pytest.raises(UserError, match=r"\[3, 3, 3, 32\], but VGG16's is float32 \[3, 3, 3, 64\]"):
        foreign.read(tmp_path / "narrow.pth")


def test_a_plain_pickle_is_refused(tmp_path):
    (tmp_path / "a.pth").write_bytes(pickle.dumps({"features.0.weight": [1.0]}))
    with pytest.raises(UserError, match="damaged, or not a file of torch"):
        foreign.read(tmp_path / "a.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz"])
def test_missing_file_and_unknown_suffix_are_named(suffix, tmp_path):
    with pytest.raises(UserError, match=rf"gone\{suffix}"):
        foreign.read(tmp_path / f"gone{suffix}")
    with pytest.raises(UserError, match=r"read from \.npz, \.pth, .*but not from .*\.onnx"):
        foreign.read(tmp_path / "vgg.onnx")


@pytest.mark.parametrize(
    ("suffix", "library"), [(".h5", "h5py"), (".safetensors", "safetensors.numpy")]
)
def test_a_library_that_is_not_installed_is_named(suffix, library, tmp_path, monkeypatch):
    (tmp_path / f"vgg{suffix}").write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(UserError, match=r"is needed to read .*pip install 'jaxsurf\[weights\]'"):
        foreign.read(tmp_path / f"vgg{suffix}")
