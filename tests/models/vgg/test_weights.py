import numpy as np
import pytest

from jaxsurf.errors import UserError
from jaxsurf.models.vgg import layers, weights
from jaxsurf.models.vgg.weights import OXFORD, TORCHVISION, from_arrays


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
    with pytest.raises(UserError, match=r"digest .* but eb33d9.* is expected; install"):
        weights.shipped()
    monkeypatch.setattr(weights, "SHIPPED", tmp_path / "gone.npz")
    with pytest.raises(UserError, match=r"cannot read .*gone\.npz: .*; install"):
        weights.shipped()


@pytest.mark.parametrize("preparation", [OXFORD, TORCHVISION])
def test_own_file_gives_back_weights_and_preparation(preparation, tmp_path, random_arrays):
    saved = from_arrays(random_arrays("block2_conv1"), preparation, origin="a test")
    weights.save(tmp_path / "mine.npz", saved)
    back = weights.read(tmp_path / "mine.npz")
    assert back.preparation == preparation
    assert list(back.kernels) == list(layers.CONVOLUTIONS[:3])
    for name in back.kernels:
        np.testing.assert_array_equal(back.kernels[name], saved.kernels[name])
        np.testing.assert_array_equal(back.biases[name], saved.biases[name])


def test_own_file_without_its_preparation_is_refused(tmp_path, random_arrays):
    np.savez(tmp_path / "bare.npz", **random_arrays("block1_conv1"))
    with pytest.raises(UserError, match=r"no preparation/family: how images are prepared"):
        weights.read(tmp_path / "bare.npz")


def test_own_file_cut_off_is_refused(tmp_path, random_weights):
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
