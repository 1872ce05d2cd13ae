"""What XLA and the allocator are given before JAX uses a device."""

import os
import subprocess
import sys

import jax
import pytest

from jaxsurf.pipeline import cli

YNNPACK, EXACT = cli.XLA_FLAGS


@pytest.mark.parametrize(
    ("version", "chosen", "expected"),
    [
        ("0.10.9", "", [YNNPACK, EXACT]),
        ("0.10.9", f"--other {YNNPACK[:-7]}", ["--other", YNNPACK[:-7], EXACT]),
        ("0.10.9", "--xla_gpu_deterministic_ops=false", [EXACT[:-4] + "false", YNNPACK]),
        # Versions that may not know a flag are not given it.
        ("0.11.0", "--other", ["--other", EXACT]),
        ("0.99.0", "", []),
    ],
)
def test_flags_are_added_to_what_the_user_chose(version, chosen, expected, monkeypatch):
    monkeypatch.setattr(jax, "__version__", version)
    monkeypatch.setenv("XLA_FLAGS", chosen)
    cli.configure_process()
    assert os.environ["XLA_FLAGS"].split() == expected


# Says which of a convolution and a product XLA gives to YNNPACK.
GIVEN_AWAY = """
import jax
import jax.numpy as jnp

def convolve(images):
    return jax.lax.conv(images, jnp.ones((12, 32, 3, 3)), (1, 1), "SAME")

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
    start = "from jaxsurf.pipeline import cli\n" + "cli.configure_process()\n" * told
    done = subprocess.run(
        [sys.executable, "-c", start + program],
        env=os.environ | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


@pytest.mark.skipif(not jax.__version__.startswith(cli.XLA_FLAGS[YNNPACK]), reason="another XLA")
def test_convolutions_stay_with_xla_and_products_do_not():
    assert printed(GIVEN_AWAY, told=False) == ["True", "True"]
    assert printed(GIVEN_AWAY, told=True) == ["False", "True"]


@pytest.mark.skipif(sys.platform != "linux", reason="it is for glibc alone")
def test_freed_memory_is_taken_again_without_the_systems_help():
    assert int(printed(PAGE_FAULTS, told=False)[0]) > 30
    assert int(printed(PAGE_FAULTS, told=True)[0]) < 10
