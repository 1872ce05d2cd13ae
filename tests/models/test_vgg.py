"""VGG16 against PyTorch, and its weights from every kind of file."""

import dataclasses
import functools
import hashlib
import http.server
import os
import sys
import threading

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16, prepare
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, UNPREPARED, from_arrays
from tests.optional import torch

IMAGES = np.random.default_rng(1).random((2, 32, 32, 3), np.float32)
SHIPPED = weights.read(weights.SHIPPED)


def random_arrays(until):
    """Return random arrays under our names, from the first convolution to the given one."""
    rng, arrays = np.random.default_rng(0), {}
    for name in weights.CONVOLUTIONS[: 1 + weights.CONVOLUTIONS.index(until)]:
        shape = weights.kernel_shape(name)
        spread = np.sqrt(2 / np.prod(shape[:3]))
        arrays[f"{name}/kernel"] = rng.normal(0, spread, shape).astype(np.float32)
        arrays[f"{name}/bias"] = rng.normal(0, 0.1, shape[-1:]).astype(np.float32)
    return arrays


def random_weights(until="block2_conv2", preparation=TORCHVISION):
    return from_arrays(random_arrays(until), preparation, origin="a test")


def torch_network():
    """Return torchvision's `features`: convolutions, ReLUs and poolings in a row."""
    parts, width = [], 3
    for channels, count in weights.BLOCKS:
        for _ in range(count):
            parts += [torch.nn.Conv2d(width, channels, 3, padding=1), torch.nn.ReLU()]
            width = channels
        parts.append(torch.nn.MaxPool2d(2, 2))
    return torch.nn.Sequential(*parts)


def torch_relus(state, inputs):
    """Return what torch computes at every ReLU, NHWC, from a state dict and prepared input."""
    network = torch_network()
    network.load_state_dict({k.removeprefix("features."): v for k, v in state.items()}, False)
    maps, found = torch.tensor(np.asarray(inputs)).permute(0, 3, 1, 2), []
    with torch.no_grad():
        for part in network:
            maps = part(maps)
            if isinstance(part, torch.nn.ReLU):
                found.append(maps.permute(0, 2, 3, 1).numpy())
    return dict(zip(weights.RELUS, found, strict=True))


@pytest.fixture(scope="module")
def torch_state():
    """A state dict under torchvision's names; its features keep their size from layer to layer."""
    torch.manual_seed(0)
    network = torch_network()
    for part in network:
        if isinstance(part, torch.nn.Conv2d):
            torch.nn.init.kaiming_normal_(part.weight)
            torch.nn.init.normal_(part.bias, std=0.1)
    return {f"features.{name}": value for name, value in network.state_dict().items()}


@pytest.fixture(scope="module")
def shallow(torch_state):
    """The first three convolutions, and layers that are none."""
    kept = {name: value for name, value in torch_state.items() if int(name.split(".")[1]) <= 5}
    return kept | {"classifier.0.bias": torch.ones(7), "steps": torch.tensor(5)}


def outputs(model, images):
    """Return what a model gives, as one program."""
    graphdef, state = nnx.split(model)
    return jax.jit(lambda state, images: nnx.merge(graphdef, state)(images))(state, images)


def close(mine, theirs):
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


# The network


def test_every_layer_equals_torchs(torch_state):
    named = {name: value.numpy() for name, value in torch_state.items()}
    model = VGG16(from_arrays(*weights.of_torch(named), origin="a test"), weights.RELUS)
    mine = outputs(model, jnp.asarray(IMAGES))
    theirs = torch_relus(torch_state, prepare(jnp.asarray(IMAGES), TORCHVISION))
    assert list(mine) == list(weights.RELUS)
    for name in weights.RELUS:
        assert np.abs(theirs[name]).max() > 0.1
        close(mine[name], theirs[name])


def test_preparations_are_those_of_their_makers():
    image = jnp.asarray(IMAGES[:1])
    red, green, blue = np.asarray(IMAGES[0, 0, 0], np.float64)
    pixel = np.asarray(prepare(image, OXFORD))[0, 0, 0]
    expected = [255 * blue - 103.939, 255 * green - 116.779, 255 * red - 123.68]
    np.testing.assert_allclose(58 * pixel, expected, rtol=1e-5)
    pixel = np.asarray(prepare(image, TORCHVISION))[0, 0, 0]
    np.testing.assert_allclose(pixel[0], (red - 0.485) / 0.229, rtol=1e-5)
    pixel = np.asarray(prepare(image, UNPREPARED))[0, 0, 0]
    np.testing.assert_allclose(pixel, 2 * np.array([red, green, blue]) - 1, atol=1e-6)


def test_feature_scale_divides_features():
    plain = random_weights(preparation=OXFORD)
    unscaled = dataclasses.replace(OXFORD, feature_scale=1.0)
    small, large = (
        outputs(VGG16(each, ["relu2_2"]), jnp.asarray(IMAGES))["relu2_2"]
        for each in (plain, dataclasses.replace(plain, preparation=unscaled))
    )
    close(58 * np.asarray(small), np.asarray(large))


def test_what_is_asked_for_is_returned_and_nothing_trained():
    model = VGG16(random_weights(), ["relu2_1", "relu1_1"])
    assert sorted(outputs(model, jnp.ones((1, 2, 3, 3)))) == ["relu1_1", "relu2_1"]
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert (len(jax.tree.leaves(params)), len(jax.tree.leaves(rest))) == (0, 6)
    with pytest.raises(UserError, match="too small for relu2_1"):
        model(jnp.ones((1, 1, 3, 3)))


@pytest.mark.parametrize(
    ("relus", "words"),
    [
        (["relu1_1", "relu6_1"], r"no layer 'relu6_1'; choose from relu1_1, .*relu5_3"),
        ([], "no layer of VGG16 is named"),
        (["relu3_3"], "end at relu2_2, but relu3_3 is asked for"),
    ],
)
def test_layers_that_there_are_not_are_refused(relus, words):
    with pytest.raises(UserError, match=words):
        VGG16(random_weights(), relus)


def test_half_precision_stays_near():
    whole, half = (
        outputs(VGG16(random_weights(), ["relu2_2"], dtype=dtype), jnp.asarray(IMAGES))["relu2_2"]
        for dtype in (jnp.float32, jnp.bfloat16)
    )
    assert half.dtype == jnp.float32
    assert 0 < float(jnp.abs(half - whole).max()) < 0.05 * float(whole.max())


def test_shipped_weights_give_the_stored_features_of_three_images():
    """Stored values: PyTorch in float64, from the authors' numbers and preparation, over 58."""
    y, x = np.mgrid[:32, :32]
    ramp = np.stack([x / 31, y / 31, (x + y) / 62], axis=-1)
    checks = np.where(((x // 4 + y // 4) % 2 == 0)[..., None], [1.0, 0.5, 0.0], [0.0, 0.25, 1.0])
    disc = np.where((np.hypot(x - 15.5, y - 15.5) < 9)[..., None], 0.9, [0.2, 0.1, 0.4])
    images = jnp.asarray(np.stack([ramp, checks, disc]), jnp.float32)
    features = np.asarray(outputs(VGG16(SHIPPED, ["relu3_3"]), images)["relu3_3"])
    means = features.mean(axis=(1, 2, 3))
    np.testing.assert_allclose(means, [5.927682, 7.34548, 6.178187], rtol=1e-5)
    stored = {
        0: ([29, 122, 87, 98], [52.88652, 47.42925, 46.36794, 40.71489]),
        1: ([128, 32, 5, 21], [172.1742, 142.3022, 117.7889, 107.0517]),
        2: ([245, 218, 95, 222], [128.655, 114.7016, 112.1976, 100.3412]),
    }
    for number, (channels, values) in stored.items():
        np.testing.assert_allclose(features[number, 3, 4, channels], values, rtol=1e-4)


# Files of weights


@pytest.mark.parametrize("preparation", [OXFORD, TORCHVISION])
def test_own_file_gives_back_weights_and_preparation(preparation, tmp_path):
    saved = random_weights("block2_conv1", preparation)
    weights.save(tmp_path / "mine.npz", saved)
    back = weights.read(tmp_path / "mine.npz")
    assert back.preparation == preparation
    assert list(back.kernels) == list(weights.CONVOLUTIONS[:3])
    for name in back.kernels:
        np.testing.assert_array_equal(back.kernels[name], saved.kernels[name])
        np.testing.assert_array_equal(back.biases[name], saved.biases[name])


def assert_equals_torch(found, state):
    assert found.deepest == "relu2_1"
    assert found.preparation == TORCHVISION
    for name, place in zip(found.kernels, weights.TORCH_PLACES, strict=False):
        theirs = state[f"features.{place}.weight"].numpy()
        np.testing.assert_array_equal(found.kernels[name], theirs.transpose(2, 3, 1, 0))
        np.testing.assert_array_equal(found.biases[name], state[f"features.{place}.bias"].numpy())


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_torchs_file_is_read_in_both_forms(zipped, tmp_path, shallow):
    for content in (shallow, {"state_dict": shallow, "epoch": 3}):
        torch.save(content, tmp_path / "vgg.pth", _use_new_zipfile_serialization=zipped)
        assert_equals_torch(weights.read(tmp_path / "vgg.pth"), shallow)


def test_safetensors_are_read(tmp_path, shallow):
    arrays = {name: value.numpy() for name, value in shallow.items()}
    safetensors.numpy.save_file(arrays, tmp_path / "vgg.safetensors")
    assert_equals_torch(weights.read(tmp_path / "vgg.safetensors"), shallow)


# Keras' published file; save_weights; a whole model.
@pytest.mark.parametrize("place", ["{0}/{0}_{1}_1:0", "{0}/{0}/{1}:0", "model_weights/{0}/{0}/{1}"])
def test_keras_file_is_read(place, tmp_path):
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
    kernel = np.ascontiguousarray(SHIPPED.kernels["block1_conv1"].transpose(3, 2, 0, 1))
    arrays = {"features.0.weight": kernel, "features.0.bias": SHIPPED.biases["block1_conv1"]}
    safetensors.numpy.save_file(arrays, tmp_path / "caffe.safetensors")
    assert weights.read(tmp_path / "caffe.safetensors").preparation == OXFORD


BLOCK1, SHAPE = "block1_conv2/kernel", r"\[3, 3, 64, 64\]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop(BLOCK1), f"here holds no {BLOCK1}, but block1_conv1"),
        (lambda a: a.pop("block1_conv2/bias"), "no block1_conv2/bias"),
        (lambda a: a.update({BLOCK1: a[BLOCK1][:, :, 1:]}), rf"3, 63, 64\].* float32 {SHAPE}"),
        (lambda a: a.update({BLOCK1: np.ones((3, 3, 64, 64), int)}), f"{BLOCK1} in here is int"),
        (lambda a: a[BLOCK1].fill(np.nan), f"{BLOCK1} in here is .* not finite"),
        (lambda a: a.clear(), "holds no block1_conv1/kernel, but nothing"),
    ],
)
def test_arrays_of_another_network_are_refused(change, words):
    arrays = random_arrays("block2_conv1")
    change(arrays)
    with pytest.raises(UserError, match=words):
        from_arrays(arrays, OXFORD, origin="here")


class Trap:
    """Runs a command when unpickled."""

    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return (os.system, (f"touch {self.victim}",))


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "older"])
def test_a_torch_file_that_runs_code_or_is_cut_off_is_refused(zipped, tmp_path, shallow):
    path = tmp_path / "vgg.pth"
    content = {"features.0.weight": torch.ones(3), "more": Trap(tmp_path / "victim")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"holds more than arrays, and is refused"):
        weights.read(path)
    assert not (tmp_path / "victim").exists()
    torch.save(shallow, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0.001, 0.3, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"vgg\.pth is damaged"):
            weights.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz"])
def test_other_content_no_file_and_no_library_are_refused(suffix, tmp_path, monkeypatch):
    assert suffix != ".pth" or torch.load
    path = tmp_path / f"vgg{suffix}"
    with pytest.raises(UserError, match=rf"there is no file .*vgg\{suffix}"):
        weights.read(path)
    for content in (b"", b"not this", b"\x89HDF\r\n\x1a\n" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            weights.read(path)
    np.savez(tmp_path / "bare.npz", **random_arrays("block1_conv1"))
    with pytest.raises(UserError, match="preparation/family"):
        weights.read(tmp_path / "bare.npz")
    with pytest.raises(UserError, match=r"read from \.npz, \.pth, .*but not from .*\.onnx"):
        weights.read(tmp_path / "vgg.onnx")
    library = {".pth": "torch", ".safetensors": "safetensors", ".h5": "h5py"}.get(suffix)
    if library:
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(sys.modules, f"{library}.numpy", raising=False)
        with pytest.raises(UserError, match=rf"{library} is needed to .*pip install {library}, or"):
            weights.read(path)


# Where weights are found


@pytest.fixture
def published(tmp_path, monkeypatch):
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


def test_deeper_layers_are_downloaded_once_and_anew_where_the_file_is_damaged(published, tmp_path):
    folder = tmp_path / "cache" / "jaxsurf" / "vgg16"
    assert weights.find("oxford", ["relu1_2", "relu3_3"]).deepest == "relu3_3"
    assert not folder.exists()  # those that are shipped are enough
    assert weights.find("oxford", ["relu4_1"]).deepest == "relu4_1"
    assert [path.name for path in folder.iterdir()] == ["deep.npz"]
    (folder / "deep.npz").write_bytes(b"half")
    assert weights.find("oxford", ["relu4_1"]).deepest == "relu4_1"
    published.unlink()
    assert weights.find("torchvision", ["relu1_1"]).deepest == "relu4_1"


def test_another_file_than_the_published_and_no_network_are_refused(published, tmp_path):
    published.write_bytes(published.read_bytes() + b"more")
    for spoil in (lambda: None, published.unlink):
        spoil()
        with pytest.raises(UserError, match=r"cannot download http:.*; fetch it elsewhere and put"):
            weights.find("torchvision", ["relu1_1"])
    assert list((tmp_path / "cache" / "jaxsurf" / "vgg16").iterdir()) == []


def test_a_file_of_the_users_is_deep_enough_and_unprepared_on_request(tmp_path):
    path = tmp_path / "mine.npz"
    weights.save(path, random_weights(until="block1_conv2"))
    assert weights.find(str(path), ["relu1_2"]).deepest == "relu1_2"
    assert weights.find(str(path), ["relu1_1"], unprepared=True).preparation == UNPREPARED
    with pytest.raises(UserError, match=r"mine\.npz end at relu1_2, but relu2_1 is asked"):
        weights.find(str(path), ["relu2_1"])
    with pytest.raises(UserError, match="unprepared input is for torchvision's weights"):
        weights.find("oxford", ["relu1_1"], unprepared=True)
