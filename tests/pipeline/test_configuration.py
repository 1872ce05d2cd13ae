"""Configurations: typed from nested values, to JSON and back, compared; the report's recipes."""

import importlib.util
import json
from pathlib import Path

import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import cli, configuration
from jaxsurf.pipeline.configuration import RunConfig

CONFIGS = Path(__file__).parents[2] / "configs"


def typed(changes):
    return configuration.from_dict(cli.make_config(changes).to_dict())


@pytest.mark.core
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data.fixed": "object_size=1,object_color=red,horizontal_axis=2.5", "data.free": "a, b"},
        {"graph.kind": "radius", "graph.radius": 0.125, "model.latent_dim": 3},
    ],
)
def test_a_configuration_comes_back_from_json_the_same(changes):
    config = typed(changes)
    text = json.dumps(configuration.to_dict(config))
    again = configuration.from_dict(json.loads(text))
    assert again == config
    assert json.dumps(configuration.to_dict(again)) == text


def test_texts_of_the_command_line_become_typed_values():
    assert typed({}) == RunConfig()
    data = typed({"data.fixed": "size=1, color=red,axis=2.5", "data.free": "a, b,"}).data
    assert data.fixed == {"size": 1, "color": "red", "axis": 2.5}
    assert data.free == ("a", "b")


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"modell": {}}, r"modell is not a setting; launch/train\.py --help lists"),
        ({"model": {"size": 3}}, r"^model\.size is not a setting"),
        ({"data": {"fixed": {"size": [1]}}}, r"config\.data\.fixed is .*\[1\].*name=value"),
        ({"model": 3}, r"config\.model is 3, but must be of type ModelConfig"),
        ({"model": {"latent_dim": 2.5}}, r"config\.model\.latent_dim is 2\.5.*type int"),
        ({"model": {"latent_dim": True}}, r"config\.model\.latent_dim is True.*type int"),
        ({"data": {"free": [3]}}, r"config\.data\.free is \[3\].*commas"),
        ({"data": {"fixed": "size"}}, r"config\.data\.fixed is 'size'.*name=value"),
        ({"data": {"fixed": "=1"}}, r"config\.data\.fixed is '=1'.*name=value"),
        ({"data": {"side": -1}}, r"data\.side is -1"),
        ({"data": {"stride": 0}}, r"data\.stride is 0, but must be at least 1"),
        ({"objective": {"layers": {"relu1_1": True}}}, r"objective\.layers is .*name=value"),
        ({"optimizer": {"b2": True}}, r"config\.optimizer\.b2 is True.*type float"),
        ({"corruption": {"kind": "salt"}}, r"corruption\.kind"),
        ({"corruption": {"strength": float("nan")}}, r"corruption\.strength"),
        ({"corruption": {"kind": "white", "strength": 1.5}}, r"corruption\.strength"),
        ({"training": {"num_epochs": 0}}, r"training\.num_epochs"),
        ({"training": {"seed": -1}}, r"training\.seed"),
        ({"training": {"keep_best": -1}}, r"training\.keep_best"),
        ({"training": {"precision": "float16"}}, r"training\.precision"),
        ({"objective": {"mse": 0.0}}, "all weights of the objective are 0"),
        ({"objective": {"l1": float("nan")}}, r"objective\.l1 is nan"),
        ({"objective": {"layers": {"relu9_1": 1.0}}}, "relu9_1"),
        ({"objective": {"layers": {"relu3_3": 0.0}}}, "relu3_3=0.0; give a finite weight"),
        ({"objective": {"precision": "float16"}}, r"objective\.precision"),
        ({"objective": {"feature_cache_mib": -1}}, "feature_cache_mib is -1"),
        ({"optimizer": {"name": "sgd"}}, r"optimizer\.name 'sgd' is not known; use one of: adamw"),
        ({"optimizer": {"learning_rate": 0.0}}, "must be above 0"),
        ({"optimizer": {"b2": 1.0}}, r"optimizer\.b2"),
        ({"optimizer": {"step_epochs": 0}}, "step_epochs"),
        ({"targets": {"kind": "yes"}}, r"targets\.kind 'yes' is not known; use one of: auto, on"),
        ({"targets": {"share": 1.5}}, r"targets\.share is 1\.5.*from 0 to 1"),
        ({"targets": {"weight": -0.1}}, r"targets\.weight is -0\.1"),
        ({"model": {"name": "vae"}}, r"model\.name 'vae' is not known"),
        ({"model": {"latent_dim": 0}}, "latent_dim is 0"),
        ({"model": {"channels": 6}}, "multiple of 4"),
        ({"graph": {"kind": "tree"}}, r"graph\.kind is 'tree', but must be one of smallest, knn,"),
        ({"training": {"seed": 2**32}}, r"training\.seed is 4294967296; choose 0 to 4294967295"),
        ({"training": {"save_every_s": float("inf")}}, "must be at least 0, and finite"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values, word):
    with pytest.raises(UserError, match=word):
        configuration.from_dict(values)


# --- configs/ and the report's recipes ---


def get_config(file, *arguments):
    spec = importlib.util.spec_from_file_location(file, CONFIGS / f"{file}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config(*arguments).to_dict()


def experiment(name, model="reference"):
    return configuration.from_dict(get_config("experiment", f"{name},{model}"))


@pytest.mark.parametrize("file", sorted(path.stem for path in CONFIGS.glob("*.py")))
def test_every_file_of_settings_can_be_read(file):
    nested = get_config(file)
    axes = nested.pop("grid", ())
    configuration.from_dict(nested)
    if file == "reference_grid":  # the report's 162 runs
        assert [len(values) for _, values in axes] == [3, 3, 3, 3, 2]
        assert nested["training"]["num_epochs"] == 300


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("mse_2d", (4.0, 0.0, 0.01, 600, 8, 150, 2, 64)),
        ("mse_3d", (4.0, 0.0, 0.01, 600, 16, 150, 3, 64)),
        ("perceptual_2d", (0.0, 1.0, 0.001, 6000, 16, 3000, 2, 128)),
        ("combined_70_30", (2.8, 0.3, 0.001, 6000, 16, 3000, 2, 128)),
        ("combined_30_70", (1.2, 0.7, 0.01, 300, 4, 75, 2, 64)),
        ("background_color", (4.0, 0.0, 0.01, 600, 8, 150, 3, 64)),
        ("noise_white_0.5", (4.0, 0.0, 0.01, 300, 4, 75, 2, 64)),
    ],
)
def test_recipes_are_those_of_the_score_table(name, recipe):
    config, ours = experiment(name), experiment(name, "smooth")
    objective, optimizer, training = config.objective, config.optimizer, config.training
    found = (objective.mse, objective.perceptual, optimizer.learning_rate, training.num_epochs)
    found += (training.batch_size, optimizer.step_epochs)
    assert (*found, config.model.latent_dim, config.model.channels) == pytest.approx(recipe)
    assert ours.objective == objective
    assert (config.model.name, ours.model.name) == ("reference", "smooth")
