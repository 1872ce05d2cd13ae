"""Layers against XLA's plain ones, values and gradients; what XLA and the allocator are told."""

import os
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from jaxsurf.models import cpu_kernels

PLAIN = {"window_strides": (2, 2), "dimension_numbers": ("NHWC", "HWIO", "NHWC")}


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def convolved(maps, kernel, padding):
    edges = [(padding, padding)] * 2
    return jax.lax.conv_general_dilated(maps, kernel, padding=edges, **PLAIN)


def transposed(maps, kernel, *, stride, crop):
    edge = kernel.shape[0] - 1 - crop
    return jax.lax.conv_general_dilated(
        maps,
        kernel[::-1, ::-1],
        window_strides=(1, 1),
        padding=[(edge, edge)] * 2,
        lhs_dilation=(stride, stride),
        dimension_numbers=("NHWC", "HWOI", "NHWC"),
    )


def assert_same(mine, plain, *arguments):
    """Compare values, and the gradients of a sum that weighs every value differently."""
    found, expected = mine(*arguments), plain(*arguments)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    weights = draw(*expected.shape, seed=9)
    numbers = tuple(range(len(arguments)))
    for here, there in zip(
        jax.jit(jax.grad(lambda *given: jnp.sum(weights * mine(*given)), numbers))(*arguments),
        jax.jit(jax.grad(lambda *given: jnp.sum(weights * plain(*given)), numbers))(*arguments),
        strict=True,
    ):
        np.testing.assert_allclose(here, there, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("side", "padding"), [(8, 1), (7, 0), (11, 0), (12, 1)])
def test_strided_convolution(side, padding):
    assert_same(
        lambda maps, kernel: cpu_kernels.convolve(maps, kernel, padding=padding),
        lambda maps, kernel: convolved(maps, kernel, padding),
        *(draw(2, side, side, 5), draw(3, 3, 5, 7)),
    )


@pytest.mark.parametrize("side", [8, 16])
def test_strided_convolution_with_pooling(side):
    assert_same(
        lambda maps, kernel: cpu_kernels.convolve_and_pool(maps, kernel, padding=1),
        lambda maps, kernel: nnx.max_pool(convolved(maps, kernel, 1), (2, 2), strides=(2, 2)),
        *(draw(2, side, side, 3), draw(3, 3, 3, 7)),
    )


def test_transposed_convolution():
    assert_same(
        cpu_kernels.enlarge,
        lambda maps, kernel: transposed(maps, kernel, stride=2, crop=0),
        *(draw(2, 5, 5, 3), draw(3, 3, 7, 3)),
    )


def test_transposed_convolutions_without_the_map_between_them():
    def mine(maps, middle, last):
        return cpu_kernels.finish(cpu_kernels.enlarged_corners(maps, middle), last)

    def plain(maps, middle, last):
        return transposed(transposed(maps, middle, stride=2, crop=0), last, stride=1, crop=2)

    assert_same(mine, plain, draw(2, 5, 5, 3), draw(3, 3, 7, 3), draw(2, 2, 4, 7))


@pytest.mark.parametrize("sides", [(4, 4), (5, 7), (16, 2)], ids=str)
def test_convolution_to_fewer_channels(sides):
    given = draw(3, *sides, 6), draw(3, 3, 6, 2, seed=1)
    assert_same(cpu_kernels.narrow, cpu_kernels.plain, *given)
    changes = tuple(draw(*array.shape, seed=2) for array in given)
    mine, theirs = (
        jax.jvp(each, given, changes)[1] for each in (cpu_kernels.narrow, cpu_kernels.plain)
    )
    np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)


def test_several_convolutions_to_fewer_channels_at_once():
    assert_same(
        jax.vmap(cpu_kernels.narrow),
        jax.vmap(cpu_kernels.plain),
        *(draw(2, 3, 8, 8, 6), draw(2, 3, 3, 6, 2, seed=1)),
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("sides", [(8, 8), (7, 4), (3, 5)], ids=str)
@pytest.mark.parametrize(
    ("mine", "stride"), [(cpu_kernels.pool_blocks, 2), (cpu_kernels.pool_overlapping, 1)]
)
def test_the_first_of_equals_has_the_gradient_of_pooling(mine, stride, sides, dtype):
    few_values = jnp.asarray(np.round(np.random.default_rng(0).normal(size=(2, *sides, 3))), dtype)
    found, back = jax.vjp(mine, few_values)
    expected, plain_back = jax.vjp(
        lambda maps: nnx.max_pool(maps, (2, 2), strides=(stride, stride)), few_values
    )
    np.testing.assert_array_equal(found, expected)
    # Whole numbers, so that their sums are exact in any order.
    change = jnp.asarray(np.arange(found.size).reshape(found.shape) % 9, dtype)
    np.testing.assert_array_equal(back(change)[0], plain_back(change)[0])


(YNNPACK, _, VERSIONS), (EXACT, _, _) = cpu_kernels.FLAGS
TOLD, ALSO_TOLD = f"{YNNPACK}=individual_dot,reduce", f"{EXACT}=true"


@pytest.mark.parametrize(
    ("version", "chosen", "expected"),
    [
        ("0.10.9", "", [TOLD, ALSO_TOLD]),
        ("0.10.9", f"--other {YNNPACK}=", ["--other", f"{YNNPACK}=", ALSO_TOLD]),
        ("0.10.9", f"{EXACT}=false", [f"{EXACT}=false", TOLD]),
        # Versions that may not know a flag are not given it.
        ("0.11.0", "--other", ["--other", ALSO_TOLD]),
        ("0.99.0", "", []),
    ],
)
def test_flags_are_added_to_what_the_user_chose(version, chosen, expected, monkeypatch):
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.setenv("XLA_FLAGS", chosen)
    cpu_kernels.configure()
    assert os.environ["XLA_FLAGS"].split() == expected


# Says which of a convolution and a product XLA gives to YNNPACK.
GIVEN_AWAY = """
import jax
import jax.numpy as jnp

def convolve(images):
    return cpu_kernels.plain(images, jnp.ones((3, 3, 32, 12)))

def multiply(images):
    return images.reshape(64, -1) @ jnp.ones((32768, 64))

for compute in (convolve, multiply):
    text = jax.jit(compute).lower(jnp.ones((64, 32, 32, 32))).compile().as_text()
    print("ynn_fusion" in text)
"""
# Takes and frees more than glibc keeps of its own accord, in a thread as XLA does.
PAGE_FAULTS = """
import resource, threading
import numpy as np

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.ones(80 * 2**20, np.uint8)
    found.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)

found = []
for _ in range(3):
    thread = threading.Thread(target=faults)
    thread.start()
    thread.join()
print(found[-1])
"""


def printed(program, *, told):
    """Return the words that a program prints in a process of its own."""
    start = "from jaxsurf.models import cpu_kernels\n" + "cpu_kernels.configure()\n" * told
    done = subprocess.run(
        [sys.executable, "-c", start + program],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(not jax.__version__.startswith(VERSIONS), reason="XLA is told nothing of it")
def test_convolutions_stay_with_xla_and_products_do_not():
    assert printed(GIVEN_AWAY, told=False) == ["True", "True"]
    assert printed(GIVEN_AWAY, told=True) == ["False", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is for glibc alone")
def test_freed_memory_is_taken_again_without_the_systems_help():
    assert int(printed(PAGE_FAULTS, told=False)[0]) > 30
    assert int(printed(PAGE_FAULTS, told=True)[0]) < 10
