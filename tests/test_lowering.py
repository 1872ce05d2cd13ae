"""Programs in the form that accelerators get, lowered for them without one."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxsurf.frames import decode
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold import encode
from jaxsurf.models.autoencoder import ModelConfig, make_autoencoder
from jaxsurf.pipeline import configuration
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training import distributed, step
from jaxsurf.training.objective import make_extractor

SCATTER = r"stablehlo\.\w*scatter"
DILATED = r"lhs_dilat\w+ = \[2, 2\]"
IMAGES = np.random.default_rng(3).integers(0, 256, (8, 32, 32, 3), np.uint8)
PLATFORMS = ("cuda", "tpu")


@pytest.fixture(autouse=True, scope="module")
def accelerator():
    # JAX keeps what it has traced, whatever the backend was called then.
    jax.clear_caches()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "default_backend", lambda: "gpu")
        yield
    jax.clear_caches()


def lowered(program, *given, **static):
    """Return the text for each platform."""
    traced = program.trace(*given, **static)
    return [traced.lower(lowering_platforms=(platform,)).as_text() for platform in PLATFORMS]


FEATURES = {"perceptual": 1.0}


@pytest.mark.parametrize(
    ("num_members", "name", "objective", "precision"),
    [
        (1, "smooth", FEATURES, "bfloat16"),
        (1, "reference", {}, "float32"),
        (3, "smooth", {}, "float32"),
        (3, "reference", FEATURES, "bfloat16"),
    ],
)
def test_training_has_no_scatters(num_members, name, objective, precision):
    settings = {
        "model": {"name": name, "channels": 8},
        "objective": objective,
        "training": {"batch_size": 4, "precision": precision},
    }
    first = make_setup(configuration.from_dict(settings), ImageSet(IMAGES, "noise"))
    extract = make_extractor(first.config.objective)
    examples = first.make_examples(extract)
    order = jnp.arange(len(IMAGES))
    update, first_batch = first.make_update(), jnp.int32(0)
    shardings = distributed.make_shardings(4, num_devices=1)
    if num_members == 1:
        program = step.compile_step(update, batch_size=4, shardings=shardings)
        given = (first.state, first.make_hyperparameters(), extract, examples, order, first_batch)
    else:
        program = step.compile_stacked_step(update, batch_size=4, shardings=shardings)
        own = (first.state, first.make_hyperparameters(), order)
        states, members, orders = step.stack([own] * num_members, shardings)
        given = (states, members, extract, examples, orders, first_batch)
    for text in lowered(program, *given, num_steps=2):
        assert "stablehlo.dot_general" in text
        assert re.findall(SCATTER, text) == []
        # Transposed convolutions, which GPUs are slow at.
        assert name == "smooth" or re.findall(DILATED, text) == []


@pytest.mark.parametrize("name", ["smooth", "reference"])
def test_models_are_lowered_with_all_digits(name):
    mean = IMAGES.mean(axis=0) / 255
    model = make_autoencoder(ModelConfig(name=name), mean_image=mean, key=jax.random.key(0))
    for program, given in (
        (encode._encode, (model, IMAGES)),
        (decode._decode_bucket, (True, 4, model, jnp.zeros((64, 2)))),
    ):
        for text in lowered(program, *given):
            products = re.findall(r"stablehlo\.(?:convolution|dot_general).*", text)
            assert products
            assert all("HIGHEST" in product for product in products)
