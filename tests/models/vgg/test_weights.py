import collections
import functools
import hashlib
import http.server
import os
import pickle
import sys
import threading

import h5py
import numpy as np
import pytest
import safetensors.numpy

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, UNPREPARED, from_arrays
from tests.optional import torch


def test_shipped_weights_are_the_authors():
    shipped = weights.shipped()
    assert shipped.deepest == "relu3_3"
    assert shipped.preparation == OXFORD
    first = shipped.kernels["block1_conv1"][0, 0, 0, :3]
    np.testing.assert_allclose(first, np.float32([0.42947057, 0.11727387, 0.03401296]), rtol=1e-7)
    bias = shipped.biases["block1_conv1"][:3]
    np.testing.assert_allclose(bias, np.float32([0.73429835, 0.09340367, 0.06775674]), rtol=1e-7)


def test_a_changed_shipped_file_is_refused(tmp_path, monkeypatch):
    changed = bytearray(weights.SHIPPED.read_bytes())
    changed[5000] ^= 1
    (tmp_path / "changed.npz").write_bytes(changed)
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "changed.npz")
    with pytest.raises(UserError, match=r"changed\.npz is damaged \(.*\); install jaxsurf again"):
        weights.shipped()
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "gone.npz")
    with pytest.raises(UserError, match=r"no file .*gone\.npz; install jaxsurf again"):
        weights.shipped()


@pytest.mark.parametrize("preparation", [OXFORD, TORCHVISION])
def test_own_file_gives_back_weights_and_preparation(preparation, tmp_path, random_arrays):
    saved = from_arrays(random_arrays("block2_conv1"), preparation, origin="a test")
    weights.save(tmp_path / "mine.npz", saved)
    back = weights.read(tmp_path / "mine.npz")
    assert back.preparation == preparation
    assert list(back.kernels) == list(weights.CONVOLUTIONS[:3])
    for name in back.kernels:
        np.testing.assert_array_equal(back.kernels[name], saved.kernels[name])
        np.testing.assert_array_equal(back.biases[name], saved.biases[name])


def test_own_file_without_its_preparation_or_cut_off_is_refused(
    tmp_path, random_arrays, random_weights
):
    np.savez(tmp_path / "bare.npz", **random_arrays("block1_conv1"))
    with pytest.raises(UserError, match=r"no preparation/family: how images are prepared"):
        weights.read(tmp_path / "bare.npz")
    weights.save(tmp_path / "mine.npz", random_weights())
    whole = (tmp_path / "mine.npz").read_bytes()
    (tmp_path / "mine.npz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"mine\.npz is damaged"):
        weights.read(tmp_path / "mine.npz")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop("block1_conv2/kernel"), "no block1_conv2/kernel; it holds block1_conv1"),
        (lambda a: a.pop("block1_conv1/kernel"), "no block1_conv1/kernel"),
        (lambda a: a.pop("block1_conv2/bias"), "no block1_conv2/bias"),
        (
            lambda a: a.update({"block1_conv2/kernel": np.ones((3, 3, 64, 63), np.float32)}),
            r"block1_conv2/kernel in here is float32 \[3, 3, 64, 63\], but VGG16's .*"
            r"\[3, 3, 64, 64\]",
        ),
        (
            lambda a: a.update({"block1_conv1/bias": np.zeros(64, np.int32)}),
            "block1_conv1/bias in here is int32",
        ),
        (
            lambda a: a.update({"block2_conv1/bias": np.full(128, np.nan, np.float32)}),
            "block2_conv1/bias in here is not finite",
        ),
        (lambda a: a.clear(), "it holds nothing"),
    ],
)
def test_other_arrays_are_refused(change, words, random_arrays):
    arrays = random_arrays("block2_conv1")
    change(arrays)
    with pytest.raises(UserError, match=words):
        from_arrays(arrays, OXFORD, origin="here")


@pytest.fixture(scope="module")
def shallow(torch_state):
    """The first three convolutions, and layers that are none."""
    kept = {name: value for name, value in torch_state.items() if int(name.split(".")[1]) <= 5}
    return collections.OrderedDict(
        kept, **{"classifier.0.bias": torch.ones(7), "steps": torch.tensor(5)}
    )


def assert_equals_torch(found, state):
    assert found.preparation == TORCHVISION
    for name, place in zip(found.kernels, weights.TORCH_PLACES, strict=False):
        theirs = state[f"features.{place}.weight"].numpy()
        np.testing.assert_array_equal(found.kernels[name], theirs.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(found.biases[name], state[f"features.{place}.bias"].numpy())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("wrapped", [True, False])
def test_torchs_file_is_read_in_both_forms(wrapped, zipped, tmp_path, shallow):
    content = {"state_dict": shallow, "epoch": 3} if wrapped else shallow
    torch.save(content, tmp_path / "vgg.pth", _use_new_zipfile_serialization=zipped)
    found = weights.read(tmp_path / "vgg.pth")
    assert found.deepest == "relu2_1"
    assert_equals_torch(found, shallow)


@pytest.mark.slow
def test_all_thirteen_convolutions_are_read(tmp_path, torch_state):
    torch.save(torch_state, tmp_path / "vgg.pth")
    found = weights.read(tmp_path / "vgg.pth")
    assert list(found.kernels) == list(weights.CONVOLUTIONS)
    assert_equals_torch(found, torch_state)


def test_safetensors_are_read(tmp_path, shallow):
    arrays = {name: value.numpy() for name, value in shallow.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "vgg.safetensors")
    assert_equals_torch(weights.read(tmp_path / "vgg.safetensors"), shallow)


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
    found = weights.read(tmp_path / "vgg.h5")
    assert found.preparation == OXFORD
    for layer in found.kernels:
        np.testing.assert_array_equal(found.kernels[layer], arrays[f"{layer}/kernel"])
        np.testing.assert_array_equal(found.biases[layer], arrays[f"{layer}/bias"])


def test_the_authors_kernels_under_torchs_names_want_the_authors_input(tmp_path):
    shipped = weights.shipped()
    kernel = np.ascontiguousarray(shipped.kernels["block1_conv1"].transpose(3, 2, 0, 1))
    arrays = {"features.0.weight": kernel, "features.0.bias": shipped.biases["block1_conv1"]}
    safetensors.numpy.save_file(arrays, tmp_path / "caffe.safetensors")
    assert weights.read(tmp_path / "caffe.safetensors").preparation == OXFORD


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
    with pytest.raises(UserError, match=r"more than tensors by name, and is refused"):
        weights.read(tmp_path / "trap.pth")
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.99])
def test_a_torch_file_cut_off_is_refused(share, zipped, tmp_path, shallow):
    path = tmp_path / "vgg.pth"
    torch.save(shallow, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UserError, match=r"vgg\.pth is damaged"):
        weights.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz"])
@pytest.mark.parametrize(
    "content", [b"", b"not this", b"\x89HDF\r\n\x1a\n" + bytes(50), pickle.dumps([1.0], protocol=2)]
)
def test_other_content_is_refused(suffix, content, tmp_path):
    assert suffix != ".pth" or torch.load
    path = tmp_path / f"vgg{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"):
        weights.read(path)


def test_another_network_is_refused(tmp_path):
    torch.save({"layer1.0.conv1.weight": torch.ones(3)}, tmp_path / "resnet.pth")
    with pytest.raises(UserError, match=r"no block1_conv1/kernel; it holds layer1\.0\.conv1"):
        weights.read(tmp_path / "resnet.pth")
    with h5py.File(tmp_path / "dense.h5", "w") as file:
        file["dense/kernel:0"] = np.ones(3)
    with pytest.raises(UserError, match="no block1_conv1/kernel; it holds nothing"):
        weights.read(tmp_path / "dense.h5")
    torch.save({"features.0.weight": torch.ones(64, 3, 3)}, tmp_path / "flat.pth")
    with pytest.raises(UserError, match=r"\[64, 3, 3\], but VGG16's is float32 \[3, 3, 3, 64\]"):
        weights.read(tmp_path / "flat.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz"])
def test_missing_file_and_unknown_suffix_are_named(suffix, tmp_path):
    with pytest.raises(UserError, match=rf"gone\{suffix}"):
        weights.read(tmp_path / f"gone{suffix}")
    with pytest.raises(UserError, match=r"read from \.npz, \.pth, .*but not from .*\.onnx"):
        weights.read(tmp_path / "vgg.onnx")


@pytest.mark.parametrize(
    ("suffix", "library"),
    [(".h5", "h5py"), (".safetensors", "safetensors.numpy"), (".pth", "torch")],
)
def test_a_library_that_is_not_installed_is_named(suffix, library, tmp_path, monkeypatch):
    (tmp_path / f"vgg{suffix}").write_bytes(b"")
    monkeypatch.setitem(sys.modules, library, None)
    name = library.partition(".")[0]
    with pytest.raises(UserError, match=rf"{name} is needed to read .*pip install {name}, or conv"):
        weights.read(tmp_path / f"vgg{suffix}")


@pytest.fixture
def published(tmp_path, random_weights, monkeypatch):
    """Lets a server on this machine stand in for what is published; returns its file's path."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "net" / "deep.npz"
    weights.save(path, random_weights(until="block4_conv1"))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(http.server.SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=path.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        offer = f"http://127.0.0.1:{server.server_port}/deep.npz", f"sha256:{digest}"
        monkeypatch.setattr(weights, "DOWNLOADS", dict.fromkeys(weights.DOWNLOADS, offer))
        yield path
        server.shutdown()


def test_shipped_weights_need_no_network(monkeypatch):
    monkeypatch.setattr(weights, "fetch", None)
    assert weights.find("oxford", ["relu1_2", "relu3_3"]).deepest == "relu3_3"


def test_deeper_layers_are_downloaded_once_and_anew_where_the_file_is_damaged(published, tmp_path):
    folder = tmp_path / "cache" / "jaxsurf" / "vgg16"
    assert weights.find("oxford", ["relu4_1"]).deepest == "relu4_1"
    assert [path.name for path in folder.iterdir()] == ["deep.npz"]
    (folder / "deep.npz").write_bytes(b"half")
    assert weights.find("oxford", ["relu4_1"]).deepest == "relu4_1"
    published.unlink()
    assert weights.find("torchvision", ["relu1_1"]).deepest == "relu4_1"


def test_another_file_than_the_published_is_refused_and_not_kept(published, tmp_path):
    published.write_bytes(published.read_bytes() + b"more")
    with pytest.raises(UserError, match=r"deep\.npz does not have the digest sha256:.*; try again"):
        weights.find("torchvision", ["relu1_1"])
    assert list((tmp_path / "cache" / "jaxsurf" / "vgg16").iterdir()) == []


@pytest.mark.parametrize("url", [None, "http://127.0.0.1:9/deep.npz"], ids=["gone", "offline"])
def test_without_a_network_the_cure_is_named(url, published, monkeypatch):
    published.unlink()
    if url:
        monkeypatch.setitem(weights.DOWNLOADS, "torchvision", (url, "sha256:0"))
    with pytest.raises(UserError, match=r"cannot download http:.*; fetch it elsewhere and put it"):
        weights.find("torchvision", ["relu1_1"])


def test_a_file_of_the_users(tmp_path, random_weights):
    weights.save(tmp_path / "mine.npz", random_weights(until="block1_conv2"))
    assert weights.find(str(tmp_path / "mine.npz"), ["relu1_2"]).deepest == "relu1_2"
    with pytest.raises(UserError, match=r"mine\.npz end at relu1_2, but relu2_1 is asked"):
        weights.find(str(tmp_path / "mine.npz"), ["relu2_1"])


def test_unprepared_input_is_for_torchvisions_weights_alone(tmp_path, random_weights):
    path = tmp_path / "mine.npz"
    weights.save(path, random_weights(preparation=TORCHVISION))
    assert weights.find(str(path), ["relu1_1"], unprepared=True).preparation == UNPREPARED
    with pytest.raises(UserError, match="unprepared input is for torchvision's weights"):
        weights.find("oxford", ["relu1_1"], unprepared=True)
