import importlib.util
from pathlib import Path

import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.reproduce.scale import Scale

CONFIGS = Path(__file__).parents[3] / "configs"


def config_of(name, model="reference"):
    return configuration.from_dotted(experiments.settings(name, model))


def get_config(file, *arguments):
    spec = importlib.util.spec_from_file_location(file, CONFIGS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments)


@pytest.mark.parametrize("name", experiments.EXPERIMENTS)
@pytest.mark.parametrize("model", experiments.MODELS)
def test_every_experiment_can_be_run_by_name_with_either_model(name, model):
    config = configuration.from_dict(get_config("experiment", f"{name},{model}").to_dict())
    assert config == config_of(name, model)
    assert config.model.name == model


def test_names_that_are_not_there_are_refused():
    with pytest.raises(UserError, match=r"no experiment 'mse_4d'; choose from mse_2d"):
        get_config("experiment", "mse_4d")
    with pytest.raises(UserError, match="no recipe for a model 'large'"):
        get_config("experiment", "mse_2d,large")


@pytest.mark.parametrize(
    ("name", "mse", "perceptual"),
    [
        ("mse_2d", 4.0, 0.0),
        ("perceptual_2d", 0.0, 1.0),
        ("combined_70_30", 2.8, 0.3),
        ("combined_30_70", 1.2, 0.7),
    ],
)
@pytest.mark.parametrize("model", experiments.MODELS)
def test_losses_weigh_as_in_the_report(name, mse, perceptual, model):
    objective = config_of(name, model).objective
    assert (objective.mse, objective.perceptual) == (pytest.approx(mse), pytest.approx(perceptual))
    assert dict(objective.layers) == {"relu3_3": 1.0}


@pytest.mark.parametrize(
    ("name", "rate", "epochs", "batch", "step", "dims", "channels"),
    [
        ("mse_2d", 0.01, 600, 8, 150, 2, 64),
        ("mse_3d", 0.01, 600, 16, 150, 3, 64),
        ("perceptual_2d", 0.001, 6000, 16, 3000, 2, 128),
        ("combined_70_30", 0.001, 6000, 16, 3000, 2, 128),
        ("combined_30_70", 0.01, 300, 4, 75, 2, 64),
        ("background_color", 0.01, 600, 8, 150, 3, 64),
        ("noise_white_0.5", 0.01, 300, 4, 75, 2, 64),
    ],
)
def test_reference_recipes_are_those_of_the_score_table(
    name, rate, epochs, batch, step, dims, channels
):
    config = config_of(name)
    assert config.optimizer.learning_rate == rate
    assert config.training.num_epochs == epochs
    assert config.training.batch_size == batch
    assert config.optimizer.step_epochs == step
    assert config.model.latent_dim == dims
    assert config.model.channels == channels


@pytest.mark.parametrize("name", ["camera_height", "background_color"])
def test_third_factor_is_free_and_the_others_are_held(name):
    data = config_of(name).data
    assert data.free == (name, "horizontal_axis", "vertical_axis")
    assert name not in data.fixed
    assert len(data.fixed) == 4


def test_noises_are_two_kinds_of_three_strengths():
    found = {
        (config_of(name).corruption.kind, config_of(name).corruption.strength)
        for name in experiments.EXPERIMENTS
        if name.startswith("noise_")
    }
    assert found == {(kind, s) for kind in ("normal", "white") for s in (0.1, 0.2, 0.5)}


def test_full_grid_has_162_members_in_nine_shapes_of_two_programs_each():
    grid = Scale(name="full").grid("reference")
    assert len(grid.members()) == 162
    assert sorted(map(len, grid.groups())) == [6] * 9 + [12] * 9


def test_grid_file_is_the_reports_162_runs():
    config = get_config("reference_grid").to_dict()
    sizes = [len(values) for _, values in config["grid"]]
    assert sizes == [3, 3, 3, 3, 2]
    assert config["training"]["num_epochs"] == 300


def test_small_runs_are_smaller():
    for name in ("mse_2d", "perceptual_2d"):
        small, full = (Scale(name=size).config(name, "reference") for size in ("small", "full"))
        assert small.training.num_epochs < full.training.num_epochs
        assert (small.data.side, small.data.stride) == (32, 2)
        # The learning rate falls at the same shares of the run.
        shares = [c.training.num_epochs / c.optimizer.step_epochs for c in (small, full)]
        assert shares[0] == shares[1]


def test_mpi3ds_file_takes_the_arms_place():
    config = Scale(name="full", mpi3d="mpi3d_toy.npz").config("mse_2d", "smooth")
    assert (config.data.source, config.data.path) == ("mpi3d_toy", "mpi3d_toy.npz")


def test_unknown_scale_is_refused():
    with pytest.raises(UserError, match="--scale is 'large'"):
        Scale(name="large")
