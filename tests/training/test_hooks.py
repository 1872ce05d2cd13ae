import json

import jax.numpy as jnp
import pytest

from jaxsurf.errors import UserError
from jaxsurf.training import hooks
from jaxsurf.training import losses as losses_module
from jaxsurf.training.journal import Journal
from jaxsurf.training.plan import Plan, TrainingConfig, make_plan


@pytest.fixture
def make_log():
    """Make logs; their files are closed in the end."""
    made = []

    def make(folder, *, resume_step=0, pending=()):
        made.append(Journal(folder / "metrics.jsonl", resume_step=resume_step))
        return losses_module.LossLog(
            made[-1],
            first_step=resume_step,
            steps_per_epoch=4,
            last_step=8,
            every=3,
            schedule=lambda step: 0.1,
            pending=list(pending),
            elapsed_s=0.0,
        )

    yield make
    for journal in made:
        journal.close()


def lines(folder):
    text = (folder / "metrics.jsonl").read_text()
    return [(line["step"], line["loss"]) for line in map(json.loads, text.splitlines())]


def losses(value):
    return {"loss": jnp.float32(value), "mse": jnp.float32(value)}


def test_line_is_the_mean_of_its_interval(tmp_path, make_log):
    log = make_log(tmp_path)
    for step in range(1, 9):
        log(step, None, losses(step))
    log.flush()
    assert lines(tmp_path) == [(3, 2.0), (6, 5.0), (8, 7.5)]


def test_resumed_in_mid_interval_writes_the_same_lines(tmp_path, make_log):
    log = make_log(tmp_path)
    for step in range(1, 6):
        log(step, None, losses(step / 3))
    pending = json.loads(json.dumps(log.flush()))
    log = make_log(tmp_path, resume_step=5, pending=pending)
    for step in range(6, 9):
        log(step, None, losses(step / 3))
    log.flush()
    resumed = lines(tmp_path)

    straight = tmp_path / "straight"
    straight.mkdir()
    log = make_log(straight)
    for step in range(1, 9):
        log(step, None, losses(step / 3))
    log.flush()
    assert resumed == lines(straight)


def test_loss_that_is_not_finite_ends_the_run_by_name(tmp_path, make_log):
    log = make_log(tmp_path)
    for step, value in enumerate([1.0, float("nan"), 1.0], start=1):
        log(step, None, losses(value))
    with pytest.raises(losses_module.Diverged, match=r"by step 3: loss, mse is not finite; lower"):
        log.flush()
    assert lines(tmp_path) == []


def test_state_that_diverged_is_not_saved(tmp_path, make_log):
    log = make_log(tmp_path)
    log(1, None, losses(float("inf")))

    class NoCheckpoints:
        def check(self):
            pass

        def save(self, *_, **__):
            raise AssertionError("saved")

    saver = hooks.Saver(NoCheckpoints(), log, every_s=0.0, show=lambda step, state: None)
    with pytest.raises(losses_module.Diverged):
        saver(1, None, losses(float("inf")))


def test_calls_cover_each_epoch_whatever_their_length():
    for steps_per_call in (1, 3, 4, 100):
        plan = Plan(num_images=10, batch_size=3, num_epochs=2, steps_per_call=steps_per_call)
        step, seen = 0, []
        while step < plan.num_steps:
            epoch, batch, num_steps = plan.call_at(step)
            seen += [(epoch, batch + i) for i in range(num_steps)]
            step += num_steps
        assert seen == [(epoch, batch) for epoch in range(2) for batch in range(4)]


def test_cpu_does_one_step_a_call_unless_told():
    assert make_plan(TrainingConfig(), num_images=10).steps_per_call == 1
    assert make_plan(TrainingConfig(steps_per_call=7), num_images=10).steps_per_call == 7


@pytest.mark.parametrize("wrong", [{"num_epochs": 0}, {"batch_size": 0}, {"seed": -1}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(UserError, match=r"training\."):
        TrainingConfig(**wrong)


def test_calls_of_many_steps_are_weighted_and_cross_an_interval_once(tmp_path, make_log):
    log = make_log(tmp_path)
    for step, value in ((1, 1.0), (4, 5.0), (8, 2.0)):
        log(step, None, losses(value))
    log.flush()
    assert lines(tmp_path) == [(4, 4.0), (8, 2.0)]


def test_what_is_being_saved_does_not_change_as_the_run_goes_on(tmp_path, make_log):
    log = make_log(tmp_path)
    log(1, None, losses(1.0))
    saving = log.flush()
    log(2, None, losses(2.0))
    assert json.dumps(saving) == '[[1, {"loss": 1.0, "mse": 1.0}]]'
