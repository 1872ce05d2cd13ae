"""VGG16 against PyTorch, and its weights from every kind of file."""

import hashlib
import os
import sys

import h5py
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import weights
from jaxsurf.models.vgg.network import VGG16, prepare
from jaxsurf.models.vgg.weights import (
    OXFORD,
    TORCHVISION,
    UNPREPARED,
    Preparation,
    from_arrays,
)
from jaxsurf.workdir import write_arrays

torch = pytest.importorskip("torch")
safetensors_torch = pytest.importorskip("safetensors.torch")

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


def save(path, until, preparation=TORCHVISION):
    """Write weights and their preparation in our own format."""
    about = {f"preparation/{name}": value for name, value in vars(preparation).items()}
    write_arrays(path, **random_arrays(until), **about)


def torch_network():
    """Return torchvision's `features`: convolutions, ReLUs and poolings in a row."""
    parts, width = [], 3
    for channels, count in weights.BLOCKS:
        for _ in range(count):
            parts += [torch.nn.Conv2d(width, channels, 3, padding=1), torch.nn.ReLU()]
            width = channels
        parts.append(torch.nn.MaxPool2d(2, 2))
    return torch.nn.Sequential(*parts)


def torch_state(until):
    """Return random arrays as a state dict, whose names are those of `torch_network` in order."""
    arrays = random_arrays(until).values()
    names = (f"features.{name}" for name in torch_network().state_dict())
    ordered = (array.transpose(3, 2, 0, 1) if array.ndim == 4 else array for array in arrays)
    return {
        name: torch.tensor(array).contiguous() for name, array in zip(names, ordered, strict=False)
    }


# And layers that are no convolutions.
SHALLOW = torch_state("block2_conv1") | {"classifier.0.bias": torch.ones(7), "s": torch.tensor(5)}


def outputs(model, images):
    """Return what a model gives, as one program."""
    return jax.jit(type(model).__call__)(model, images)


# The network


def test_every_layer_equals_torchs():
    mine = outputs(VGG16(random_weights("block5_conv3"), weights.RELUS), jnp.asarray(IMAGES))
    assert list(mine) == list(weights.RELUS)
    network, names = torch_network(), iter(weights.RELUS)
    state = torch_state("block5_conv3").items()
    network.load_state_dict({name.removeprefix("features."): value for name, value in state})
    maps = torch.tensor(np.asarray(prepare(jnp.asarray(IMAGES), TORCHVISION))).permute(0, 3, 1, 2)
    for part in network:
        maps = part(maps)
        if isinstance(part, torch.nn.ReLU):
            theirs = maps.permute(0, 2, 3, 1).detach().numpy()
            scale = np.abs(theirs).max()
            assert scale > 0.1
            np.testing.assert_allclose(mine[next(names)], theirs, rtol=1e-4, atol=1e-5 * scale)


def test_preparations_are_those_of_their_makers():
    red, green, blue = np.asarray(IMAGES[0, 0, 0], np.float64)
    authors = [255 * blue - 103.939, 255 * green - 116.779, 255 * red - 123.68]
    theirs = [(red - 0.485) / 0.229, (green - 0.456) / 0.224, (blue - 0.406) / 0.225]
    plain = [2 * red - 1, 2 * green - 1, 2 * blue - 1]
    for made, expected in ((OXFORD, authors), (TORCHVISION, theirs), (UNPREPARED, plain)):
        pixel = made.feature_scale * prepare(jnp.asarray(IMAGES[:1]), made)[0, 0, 0]
        np.testing.assert_allclose(pixel, expected, rtol=1e-5, atol=1e-6)
    assert OXFORD.feature_scale == 58


def test_what_is_asked_for_is_returned_and_nothing_trained():
    model = VGG16(random_weights(), ["relu2_1", "relu1_1"])
    assert sorted(outputs(model, jnp.ones((1, 2, 3, 3)))) == ["relu1_1", "relu2_1"]
    _, params, rest = nnx.split(model, nnx.Param, ...)
    assert (len(jax.tree.leaves(params)), len(jax.tree.leaves(rest))) == (0, 6)


def test_layers_that_there_are_not_and_small_images_are_refused():
    for relus, words in (
        (["relu1_1", "relu6_1"], r"layer of VGG16 'relu6_1' is not known; .* relu1_1, .*relu5_3"),
        (["relu3_3"], "end at relu2_2, but relu3_3 is asked for"),
    ):
        with pytest.raises(UserError, match=words):
            VGG16(random_weights(), relus)
    with pytest.raises(UserError, match="too small for relu2_1"):
        VGG16(random_weights(), ["relu2_1"])(jnp.ones((1, 1, 3, 3)))


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


def assert_same_weights(found, expected):
    assert found.preparation == expected.preparation
    both = ((each.kernels, each.biases) for each in (found, expected))
    jax.tree.map(np.testing.assert_array_equal, *both)


@pytest.mark.parametrize("kind", ["zip", "older", "checkpoint", "safetensors"])
def test_files_of_torchs_names_are_read(kind, tmp_path):
    path = tmp_path / ("vgg.safetensors" if kind == "safetensors" else "vgg.pth")
    if kind == "safetensors":
        safetensors_torch.save_file(SHALLOW, path)
    else:
        content = {"state_dict": SHALLOW, "epoch": 3} if kind == "checkpoint" else SHALLOW
        torch.save(content, path, _use_new_zipfile_serialization=kind != "older")
    assert_same_weights(weights.read(path), random_weights("block2_conv1"))


# Keras' published file; save_weights; a whole model.
@pytest.mark.parametrize("place", ["{0}/{0}_{1}_1:0", "{0}/{0}/{1}:0", "model_weights/{0}/{0}/{1}"])
def test_keras_file_is_read(place, tmp_path):
    arrays = random_arrays("block2_conv1")
    with h5py.File(tmp_path / "vgg.h5", "w") as file:
        for name, array in arrays.items():
            layer, kind = name.split("/")
            file[place.format(layer, kind[0].upper())] = array
        file["optimizer_weights/block1_conv1/kernel"] = np.ones((3, 3, 3, 64), np.float32)
    assert_same_weights(weights.read(tmp_path / "vgg.h5"), random_weights("block2_conv1", OXFORD))


def test_the_authors_kernels_under_torchs_names_want_the_authors_input():
    kernel = SHIPPED.kernels["block1_conv1"].transpose(3, 2, 0, 1)
    arrays = {"features.0.weight": kernel, "features.0.bias": SHIPPED.biases["block1_conv1"]}
    assert weights.of_torch(arrays)[1] == OXFORD


BLOCK1, SHAPE = "block1_conv2/kernel", r"\[3, 3, 64, 64\]"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a.pop(BLOCK1), f"{BLOCK1} in here is missing: there is block1_conv1"),
        (lambda a: a.update({BLOCK1: a[BLOCK1][:, :, 1:]}), rf"3, 63, 64\].* float32 {SHAPE}"),
        (lambda a: a.update({BLOCK1: np.ones((3, 3, 64, 64), int)}), f"{BLOCK1} in here is int"),
        (lambda a: a[BLOCK1].fill(np.nan), f"{BLOCK1} in here is .* not finite"),
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
def test_a_torch_file_that_runs_code_or_is_cut_off_is_refused(zipped, tmp_path):
    path = tmp_path / "vgg.pth"
    content = {"features.0.weight": torch.ones(3), "more": Trap(tmp_path / "victim")}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UserError, match=r"holds more than arrays, and is refused"):
        weights.read(path)
    assert not (tmp_path / "victim").exists()
    torch.save(SHALLOW, path, _use_new_zipfile_serialization=zipped)
    whole = path.read_bytes()
    for share in (0.001, 0.3, 0.99):
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(UserError, match=r"vgg\.pth is damaged"):
            weights.read(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".h5", ".npz"])
def test_other_content_no_file_and_no_library_are_refused(suffix, tmp_path, monkeypatch):
    path = tmp_path / f"vgg{suffix}"
    with pytest.raises(UserError, match=rf"there is no weight file .*vgg\{suffix}"):
        weights.read(path)
    for content in (b"", b"\x89HDF\r\n\x1a\n" + bytes(50)):
        path.write_bytes(content)
        with pytest.raises(UserError, match="is damaged"):
            weights.read(path)
    np.savez(tmp_path / "bare.npz", **random_arrays("block1_conv1"))
    with pytest.raises(UserError, match="preparation/family"):
        weights.read(tmp_path / "bare.npz")
    with pytest.raises(
        UserError, match=r"there is no weight file .*\.onnx; .* ends in \.npz, \.pth,"
    ):
        weights.read(tmp_path / "vgg.onnx")
    library = {".pth": "torch", ".safetensors": "safetensors", ".h5": "h5py"}.get(suffix)
    if library:
        monkeypatch.setitem(sys.modules, library, None)
        monkeypatch.delitem(sys.modules, f"{library}.numpy", raising=False)
        with pytest.raises(UserError, match=rf"{library} is needed to .*pip install {library}, or"):
            weights.read(path)


# Where weights are found


def test_a_file_of_our_own_format_says_how_images_are_prepared(tmp_path):
    path = tmp_path / "mine.npz"
    own = Preparation(family="mine", peak=2.0, mean=(0.1, 0.2, 0.3), bgr=True)
    save(path, "block1_conv2", own)
    assert_same_weights(weights.find(str(path), ["relu1_2"]), random_weights("block1_conv2", own))


def test_a_file_of_the_users_is_unprepared_on_request(tmp_path):
    path = tmp_path / "mine.npz"
    save(path, "block1_conv2")
    assert weights.find(str(path), ["relu1_1"], unprepared=True).preparation == UNPREPARED
    with pytest.raises(UserError, match="unprepared input is for torchvision's weights"):
        weights.find("oxford", ["relu1_1"], unprepared=True)


def test_what_is_published_is_kept_and_refused_where_it_is_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    kept = tmp_path / "jaxsurf" / "vgg16" / "deep.npz"
    save(kept, "block4_conv1")
    digest = hashlib.sha256(kept.read_bytes()).hexdigest()
    offer = "http://127.0.0.1:9/deep.npz", f"sha256:{digest}"  # where nobody answers
    monkeypatch.setattr(weights, "DOWNLOADS", dict.fromkeys(weights.DOWNLOADS, offer))
    assert_same_weights(weights.find("oxford", ["relu3_3"]), SHIPPED)
    for source in ("oxford", "torchvision"):
        assert "block4_conv1" in weights.find(source, ["relu4_1"]).kernels
    kept.write_bytes(b"half")
    with pytest.raises(UserError, match=r"cannot download http:.*; fetch it elsewhere and put it"):
        weights.find("oxford", ["relu4_1"])
