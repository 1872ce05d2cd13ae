"""A grid of settings: its members, their names, who shares a program, and what is refused."""

import itertools
import re

import pytest

from jaxsurf.errors import UserError
from jaxsurf.pipeline import configuration, sweep
from jaxsurf.pipeline.grid import NUMBERS, Axis, Grid

BASE = {"training": {"num_epochs": 3}, "model": {"channels": 8}}


def axis(name, *values):
    return Axis((name,), tuple((value,) for value in values))


def make(*axes, base=BASE):
    return Grid(base, axes)


def test_the_last_axis_varies_fastest():
    made = make(
        axis("training.batch_size", 4, 8),
        axis("corruption.strength", 0.1, 0.2, 0.5),
        axis("corruption.kind", "normal", "white"),
    ).members()
    found = [
        (m.config.training.batch_size, m.config.corruption.strength, m.config.corruption.kind)
        for m in made
    ]
    assert found == list(itertools.product((4, 8), (0.1, 0.2, 0.5), ("normal", "white")))
    assert {m.config.model.channels for m in made} == {8}
    assert {m.config.training.num_epochs for m in made} == {3}
    assert made[1].values == {
        "training.batch_size": 4,
        "corruption.strength": 0.1,
        "corruption.kind": "white",
    }


def test_settings_of_one_axis_change_together():
    both = Axis(("objective.mse", "objective.perceptual"), ((4.0, 0.0), (2.8, 0.3), (0.0, 1.0)))
    made = make(both).members()
    assert [m.config.objective.weights for m in made] == [
        {"mse": 4.0},
        {"mse": 2.8, "perceptual": 0.3},
        {"perceptual": 1.0},
    ]


def test_the_grid_leaves_its_base_as_it_is():
    base = {"training": {"seed": 3}}
    make(axis("training.seed", 5, 7), axis("model.latent_dim", 3), base=base).members()
    assert base == {"training": {"seed": 3}}


def test_names_say_the_values_and_are_fit_for_folders():
    made = make(
        axis("optimizer.learning_rate", 1e-5, 1e16),
        axis("corruption.kind", "normal"),
    ).members()
    assert [m.name for m in made] == [
        "learning_rate_1e-05-kind_normal",
        "learning_rate_1e+16-kind_normal",
    ]


def test_values_that_can_not_stand_in_a_name_are_told_apart_all_the_same():
    sources = ("a/b c.npz", "a_b_c.npz", "a?b*c.npz", "å.npz", "é.npz")
    names = [m.name for m in make(axis("data.source", *sources)).members()]
    assert names[1] == "source_a_b_c.npz"
    assert re.fullmatch(r"source_a_b_c\.npz-[0-9a-f]{16}", names[0])
    assert len({*names}) == len(sources)
    assert all(re.fullmatch(r"[A-Za-z0-9_.+-]+", name) for name in names)


def test_long_names_are_cut_and_told_apart_all_the_same(tmp_path):
    folder = "/data/" + "x" * 400
    made = make(axis("data.source", f"{folder}/1.npz", f"{folder}/2.npz")).members()
    assert len({m.name for m in made}) == 2
    for member in made:
        (tmp_path / member.name).mkdir()  # file systems allow 255 bytes


def test_members_that_differ_in_numbers_alone_share_a_program():
    values = {
        "optimizer.learning_rate": (1e-3, 2e-3),
        "optimizer.weight_decay": (0.0, 1e-4),
        "corruption.kind": ("normal", "white"),
        "corruption.strength": (0.1, 0.2),
        "objective.mse": (1.0, 2.0),
        "objective.l1": (0.0, 1.0),
        "objective.bce": (0.0, 1.0),
        "objective.perceptual": (0.5, 1.0),
        "training.seed": (0, 1),
    }
    assert values.keys() == {*NUMBERS}
    (group,) = make(*(axis(name, *both) for name, both in values.items())).groups()
    assert len(group) == 2 ** len(values)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("training.batch_size", (4, 8)),
        ("training.num_epochs", (1, 2)),
        ("model.channels", (4, 8)),
        ("model.latent_dim", (2, 3)),
        ("optimizer.name", ("adamw", "reference")),
        ("optimizer.b2", (0.9, 0.95)),
        ("data.side", (32, 48)),
        ("data.path", ("here", "there")),
        ("data.fixed", ("size=1", "size=2")),
        # A network for features is too dear for members that ignore it.
        ("objective.perceptual", (0.0, 1.0)),
    ],
)
def test_members_that_differ_in_more_do_not(name, values):
    groups = make(axis("training.seed", 0, 1), axis(name, *values)).groups()
    assert [len(group) for group in groups] == [2, 2]


def test_groups_come_as_their_first_members_do():
    groups = make(axis("corruption.kind", "normal", "white"), axis("model.channels", 8, 4)).groups()
    assert [[m.name for m in group] for group in groups] == [
        ["kind_normal-channels_8", "kind_white-channels_8"],
        ["kind_normal-channels_4", "kind_white-channels_4"],
    ]


REFUSED = [
    ((), "the grid has no axis; name a setting"),
    ((("training.size",), ((1,),)), r"axis over training\.size; name settings"),
    ((("training",), ((1,),)), "axis over training; name settings"),
    (((), ((),)), "axis over nothing; name settings"),
    ((("training.seed",), ()), r"axis over training\.seed has no values"),
    ((("training.seed",), ((1, 2),)), r"axis over training\.seed has \(1, 2\); give tuples"),
    (
        (("objective.layers",), (("relu1_2",), ("relu3_3",))),
        r"axis over objective\.layers, but perceptual losses of different features",
    ),
    ((("objective.vgg",), (("oxford",),)), r"objective\.vgg, but .* make a sweep for each"),
    ((("objective.preparation",), (("own",),)), r"objective\.preparation, but"),
    ((("training.log_every",), ((1,),)), r"training\.log_every, but training does not depend"),
    ((("training.save_every_s",), ((1.0,),)), r"save_every_s, but training does not depend"),
    ((("graph.k",), ((8,), (9,))), r"axis over graph\.k, but training does not depend on it"),
    ((("training.seed", "training.seed"), ((1, 2),)), r"several axes over training\.seed"),
    ((("training.seed",), ((1,), (2,), (1,))), "the grid holds seed_1 twice; name values once"),
    (
        (("corruption.strength",), ((1,), (1.0,))),
        r"holds strength_1\.0 twice, once as strength_1;",
    ),
    ((("training.batch_size",), (("many",),)), "batch_size is 'many', but must be of type int"),
    ((("training.batch_size",), ((8.0,),)), r"batch_size is 8\.0, but must be of type int"),
    ((("training.batch_size",), ((0,),)), "batch_size is 0, but must be at least 1"),
    ((("corruption.kind",), (("pink",),)), r"corruption\.kind is 'pink'; choose"),
    ((("corruption.strength",), (("0.1",),)), "strength is '0.1', but must be of type float"),
    ((("optimizer.learning_rate",), ((float("nan"),),)), "learning_rate must be above 0"),
    ((("objective.mse",), ((0.0,),)), "all weights of the objective are 0"),
]


@pytest.mark.parametrize(("only", "complaint"), REFUSED, ids=[text for _, text in REFUSED])
def test_a_wrong_grid_is_refused(only, complaint):
    with pytest.raises(UserError, match=complaint):
        Grid(BASE, (Axis(*only),) if only else ()).members()


def test_two_axes_over_one_setting_are_refused():
    with pytest.raises(UserError, match=r"several axes over corruption\.kind; give its values in"):
        make(
            axis("corruption.kind", "normal"),
            Axis(("corruption.strength", "corruption.kind"), ((0.1, "white"),)),
        )


def test_a_wrong_base_is_refused():
    wrong = make(axis("training.seed", 1, 2), base={"model": {"channels": 7}})
    with pytest.raises(UserError, match=r"model\.channels is 7, but must be a multiple of 4"):
        wrong.members()


@pytest.mark.parametrize(("num_images", "every"), [(40, 5), (41, 6), (3, 1)])
def test_a_line_of_metrics_is_written_each_epoch(num_images, every):
    config = configuration.from_dict({"training": {"batch_size": 8, "log_every": 77}})
    changed = sweep.every_epoch(config, num_images=num_images)
    assert changed.training.log_every == every
    assert not configuration.differences(config, changed)
