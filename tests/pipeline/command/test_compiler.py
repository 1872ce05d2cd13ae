"""What XLA is told."""

import os
import subprocess
import sys

import jax
import pytest

from jaxsurf.pipeline.command import compiler

NAMES = [flag.name for flag in compiler.FLAGS]
YNNPACK = "--xla_cpu_experimental_ynn_fusion_type=individual_dot,reduce"
EXACT = "--xla_gpu_deterministic_ops=true"
# Says which of a convolution, a product and a sum XLA gives to YNNPACK.
PROGRAM = """
import sys
import jax
import jax.numpy as jnp
from jax import lax
from jaxsurf.pipeline.command import compiler

if sys.argv[1] == "told":
    compiler.configure()

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
    not jax.__version__.startswith(compiler.FLAGS[0].versions), reason="XLA is told nothing of it"
)
def test_convolutions_stay_with_xla_and_products_do_not():
    assert given_away("untold") == [True, True]
    assert given_away("told") == [False, True]


@pytest.mark.parametrize(
    ("version", "chosen", "expected"),
    [
        ("0.10.9", "", [YNNPACK, EXACT]),
        ("0.10.9", "--other", ["--other", YNNPACK, EXACT]),
        ("0.10.9", f"--other {NAMES[0]}=", ["--other", f"{NAMES[0]}=", EXACT]),
        ("0.10.9", f"{NAMES[1]}=false", [f"{NAMES[1]}=false", YNNPACK]),
        # Versions that may not know a flag are not given it.
        ("0.11.0", "--other", ["--other", EXACT]),
        ("0.99.0", "--other", ["--other"]),
        ("0.99.0", "", []),
    ],
)
def test_flags_are_added_to_what_the_user_chose(version, chosen, expected, monkeypatch):
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.setenv("XLA_FLAGS", chosen)
    compiler.configure()
    assert os.environ["XLA_FLAGS"].split() == expected
