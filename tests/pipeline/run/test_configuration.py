"""Configurations: typed from nested values, to JSON and back, compared."""

import dataclasses
import json

import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import cli, configuration
from jaxsurf.pipeline.configuration import RunConfig


def typed(changes):
    return configuration.from_dict(cli.make_config(changes).to_dict())


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


def test_a_file_without_changes_holds_the_defaults():
    assert typed({}) == RunConfig()


def test_texts_of_the_command_line_become_typed_values():
    data = typed({"data.fixed": "size=1, color=red,axis=2.5", "data.free": "a, b,"}).data
    assert data.fixed == {"size": 1, "color": "red", "axis": 2.5}
    assert data.free == ("a", "b")


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"modell": {}}, r"modell is not a setting; launch/train\.py --help lists"),
        ({"model": {"size": 3}}, r"^model\.size is not a setting"),
        ({"data": {"fixed": {"size": [1]}}}, r"config\.data\.fixed is .*\[1\].*name=value"),
        ({"model": 3}, r"config\.model is 3, but must be of type ModelConfig"),
        ({"model": {"latent_dim": 2.5}}, r"config\.model\.latent_dim is 2\.5.*type int"),
        ({"model": {"latent_dim": True}}, r"config\.model\.latent_dim is True.*type int"),
        ({"model": {"name": 3}}, r"config\.model\.name is 3.*type str"),
        ({"data": {"free": [3]}}, r"config\.data\.free is \[3\].*commas"),
        ({"data": {"fixed": "size"}}, r"config\.data\.fixed is 'size'.*name=value"),
        ({"data": {"side": -1}}, r"data\.side is -1"),
        ({"data": {"stride": 0}}, r"data\.stride is 0, but must be at least 1; 1 keeps all"),
        ({"data": {"stride": 1.5}}, r"config\.data\.stride is 1\.5.*type int"),
        ({"data": {"fixed": "=1"}}, r"config\.data\.fixed is '=1'.*name=value"),
        ({"objective": {"layers": {"relu1_1": True}}}, r"objective\.layers is .*name=value"),
        ({"optimizer": {"b2": True}}, r"config\.optimizer\.b2 is True.*type float"),
        ({"graph": {"kind": "tree"}}, r"graph\.kind is 'tree', but must be one of smallest, knn,"),
    ],
)
def test_a_wrong_value_is_refused_by_name(values, complaint):
    with pytest.raises(UserError, match=complaint):
        configuration.from_dict(values)


def test_a_stride_changes_the_result_and_reaches_the_images(monkeypatch):
    config = typed({"data.stride": 2})
    assert configuration.differences(RunConfig(), config) == {"data.stride": (1, 2)}
    opened = {}
    monkeypatch.setattr(
        configuration.sources, "open_images", lambda source, **options: opened.update(options)
    )
    configuration.open_data(config.data)
    assert opened["stride"] == 2


def test_names_are_those_that_differences_speak_of():
    other = dataclasses.replace(
        RunConfig(), model=dataclasses.replace(RunConfig().model, latent_dim=5)
    )
    assert configuration.differences(RunConfig(), other) == {"model.latent_dim": (2, 5)}
    assert "model.latent_dim" in configuration.names()
    assert {name.split(".")[0] for name in configuration.names()} == {
        field.name for field in dataclasses.fields(RunConfig)
    }
