"""Our Adam with L2 and step decay against PyTorch's, our learning rates against optax's."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsurf.training.optimizer import (
    OptimizerConfig,
    learning_rate_at,
    make_optimizer,
    make_rates,
)

STEPS_PER_EPOCH = 3


def test_reference_equals_torchs_adam_with_l2_and_step_decay_for_20_steps():
    torch = pytest.importorskip("torch")
    random = np.random.default_rng(0)
    start = random.normal(size=(7, 3)).astype(np.float32)
    gradients = random.normal(size=(20, 7, 3)).astype(np.float32)

    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = torch.optim.Adam([weight], lr=1e-2, weight_decay=0.3)
    decay = torch.optim.lr_scheduler.StepLR(theirs, step_size=2 * STEPS_PER_EPOCH, gamma=0.1)

    config = OptimizerConfig(name="reference", learning_rate=1e-2, weight_decay=0.3, step_epochs=2)
    rates = make_rates(config, num_epochs=9, steps_per_epoch=STEPS_PER_EPOCH)
    optimizer = make_optimizer(config, rates)
    params = jnp.asarray(start)
    opt_state = optimizer.init(params)
    for gradient in gradients:
        weight.grad = torch.from_numpy(gradient.copy())
        theirs.step()
        decay.step()
        change, opt_state = optimizer.update(jnp.asarray(gradient), opt_state, params)
        params = optax.apply_updates(params, change)
        np.testing.assert_allclose(params, weight.detach().numpy(), rtol=1e-5, atol=1e-6)
    assert np.abs(np.asarray(params) - start).max() > 0.01


def test_adamw_decays_kernels_but_not_biases():
    config = OptimizerConfig(learning_rate=0.1, weight_decay=0.5, warmup_share=0.0)
    optimizer = make_optimizer(config, make_rates(config, num_epochs=1, steps_per_epoch=1000))
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    zero = jax.tree.map(jnp.zeros_like, params)
    _, opt_state = optimizer.update(zero, optimizer.init(params), params)  # from a rate of zero
    change, _ = optimizer.update(zero, opt_state, params)
    np.testing.assert_allclose(change["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(change["bias"], 0.0)


@pytest.mark.parametrize(
    ("config", "length", "schedule"),
    [
        ({"warmup_share": 0.1}, (5, 40), optax.warmup_cosine_decay_schedule(0, 1e-3, 20, 200)),
        ({"warmup_share": 0.0}, (5, 40), optax.warmup_cosine_decay_schedule(0, 1e-3, 1, 200)),
        ({"warmup_share": 0.99}, (1, 1), optax.warmup_cosine_decay_schedule(0, 1e-3, 1, 2)),
        (
            {"name": "reference", "step_epochs": 2},
            (5, 40),
            optax.exponential_decay(1e-3, 80, 0.1, staircase=True),
        ),
    ],
)
def test_the_learning_rate_rises_and_falls_as_optaxs_does(config, length, schedule):
    config = OptimizerConfig(learning_rate=1e-3, **config)
    rates = make_rates(config, num_epochs=length[0], steps_per_epoch=length[1])
    steps = jnp.arange(210)
    expected = jax.vmap(schedule)(steps)
    np.testing.assert_allclose(learning_rate_at(config.name, rates, steps), expected, 1e-5, 1e-9)
