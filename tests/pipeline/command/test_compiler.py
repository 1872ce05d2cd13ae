"""What XLA is told about convolutions on CPUs."""

import os
import subprocess
import sys

import jax
import pytest

from jaxsurf.pipeline.command import compiler

# Says which of a convolution, a product and a sum XLA gives to YNNPACK.
PROGRAM = """
import sys
import jax
import jax.numpy as jnp
from jax import lax
from jaxsurf.pipeline.command import compiler

if sys.argv[1] == "told":
    compiler.share_convolutions()

def convolve(images):
    return lax.conv_general_dilated(
        images, jnp.ones((3, 3, 32, 12)), (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
    )

def multiply(images):
    return images.reshape(64, -1) @ jnp.ones((32768, 64))

for compute in (convolve, multiply):
    text = jax.jit(compute).lower(jnp.ones((64, 32, 32, 32))).compile().as_text()
    print("ynn_fusion" in text)
"""


def given_away(how, flags=""):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, how],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flags},
        capture_output=True,
        text=True,
        check=True,
    )
    return [line == "True" for line in done.stdout.split()]


@pytest.mark.skipif(
    not jax.__version__.startswith(compiler.TRIED_WITH), reason="XLA is told nothing"
)
def test_convolutions_stay_with_xla_and_products_do_not():
    assert given_away("untold") == [True, True]
    assert given_away("told") == [False, True]


def test_what_the_user_chose_stays(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", f"--other {compiler.FLAG}=")
    compiler.share_convolutions()
    assert os.environ["XLA_FLAGS"] == f"--other {compiler.FLAG}="


def test_other_flags_stay(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.10.9")
    monkeypatch.setenv("XLA_FLAGS", "--other")
    compiler.share_convolutions()
    assert os.environ["XLA_FLAGS"] == f"--other {compiler.CHOSEN}"


def test_a_version_that_may_not_know_the_flag_is_told_nothing(monkeypatch):
    monkeypatch.setattr(jax, "__version__", "0.11.0")
    monkeypatch.setenv("XLA_FLAGS", "--other")
    compiler.share_convolutions()
    assert os.environ["XLA_FLAGS"] == "--other"
