"""Our Adam with L2 and step decay against PyTorch's, on the same gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxsurf.training.optimizer import (
    OptimizerConfig,
    make_optimizer,
    make_rates,
    make_schedule,
)

torch = pytest.importorskip("torch")

STEPS_PER_EPOCH = 3


def test_reference_equals_torchs_adam_with_l2_and_step_decay_for_20_steps():
    random = np.random.default_rng(0)
    start = random.normal(size=(7, 3)).astype(np.float32)
    gradients = random.normal(size=(20, 7, 3)).astype(np.float32)

    weight = torch.nn.Parameter(torch.from_numpy(start.copy()))
    theirs = torch.optim.Adam([weight], lr=1e-2, weight_decay=0.3)
    decay = torch.optim.lr_scheduler.StepLR(theirs, step_size=2 * STEPS_PER_EPOCH, gamma=0.1)

    config = OptimizerConfig(name="reference", learning_rate=1e-2, weight_decay=0.3, step_epochs=2)
    schedule = make_schedule(config, num_epochs=9, steps_per_epoch=STEPS_PER_EPOCH)
    optimizer = make_optimizer(config, schedule, make_rates(config))
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
    config = OptimizerConfig(name="adamw", learning_rate=0.1, weight_decay=0.5, warmup_share=0.0)
    optimizer = make_optimizer(config, lambda step: 1.0, make_rates(config))
    params = {"kernel": jnp.ones((2, 3)), "bias": jnp.ones(3)}
    zero = jax.tree.map(jnp.zeros_like, params)
    change, _ = optimizer.update(zero, optimizer.init(params), params)
    np.testing.assert_allclose(change["kernel"], -0.05, rtol=1e-6)
    np.testing.assert_array_equal(change["bias"], 0.0)


def test_adamw_warms_up_then_falls_to_zero():
    config = OptimizerConfig(name="adamw", learning_rate=1e-3, warmup_share=0.1)
    schedule = make_schedule(config, num_epochs=10, steps_per_epoch=10)
    rates = [float(schedule(step)) for step in (0, 5, 10, 55, 100)]
    assert rates == pytest.approx([0.0, 0.5, 1.0, 0.5, 0.0], rel=1e-5, abs=1e-6)
