"""The table of a sweep has the report's columns, on the report's scale, and ours after them."""

import csv
import io
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from jaxsurf.pipeline import sweep
from jaxsurf.pipeline.grid import Axis, Grid
from jaxsurf.pipeline.sweep import Outcome
from jaxsurf.viewing import plots

# As the report's authors' all_scores.csv begins.
REPORTS_HEADER = (
    "learning rate,weight decay,num_epochs,batch_size,step_size,dims,MSE_weight,"
    "perceptual_weight,out_channels,noise,noise_types,IMAGES_PATH,target_loss"
)
OURS = (
    "member,state,model,optimizer,seed,l1_weight,bce_weight,mse,perceptual_oxford,psnr_db,"
    "training_s,together,message"
)
BASE = {
    "model": {"name": "reference", "channels": 64, "latent_dim": 3},
    "optimizer": {
        "name": "reference",
        "learning_rate": 0.01,
        "weight_decay": 1e-5,
        "step_epochs": 150,
    },
    "training": {"num_epochs": 600, "batch_size": 16, "seed": 42},
    "corruption": {"kind": "white", "strength": 0.2},
    "objective": {"l1": 0.125, "bce": 0.25},
}
WEIGHTS = Axis(("objective.mse", "objective.perceptual"), ((4.0, 0.0), (2.8, 0.3)))
GOOD = Outcome(
    state="finished", losses={"loss": 0.02, "mse": 0.005}, mse=0.01, training_s=60.4, together=2
)
DIVERGED = Outcome(state="diverged", message="training diverged by step 5: loss, mse")
COLLAPSED = Outcome(
    state="collapsed",
    message="the model collapsed",
    losses={"loss": 0.5, "mse": 0.125, "perceptual": 7.0},
    mse=0.125,
    training_s=61.0,
)


def results(*ended, base=BASE, axis=WEIGHTS):
    return list(zip(Grid(base, (axis,)).members(), ended, strict=True))


def rows(*ended, **changes):
    text = sweep.table(results(*ended, **changes))
    return text, list(csv.DictReader(io.StringIO(text)))


def test_the_header_is_the_reports_with_ours_after_it():
    text, _ = rows(GOOD, COLLAPSED)
    assert text.splitlines()[0] == f"{REPORTS_HEADER},{OURS}"


def test_the_reports_columns_hold_the_settings_and_the_loss():
    _, (first, second) = rows(GOOD, COLLAPSED)
    found = ",".join(first[name] for name in REPORTS_HEADER.split(","))
    expected = "0.01,1e-05,600,16,150,3,1.0,0.0,64,0.2,white,arm,0.02"
    assert found == expected
    assert second["perceptual_weight"] == "0.3"
    assert second["target_loss"] == "0.5"


def test_squared_errors_are_weighed_on_the_reports_scale():
    # (2x - 1) - (2y - 1) = 2 (x - y): a squared error on [-1, 1] is four times that on [0, 1].
    _, (first, second) = rows(GOOD, COLLAPSED)
    assert float(first["MSE_weight"]) == 1.0
    assert float(second["MSE_weight"]) == pytest.approx(0.7, rel=1e-12)


def test_our_columns():
    _, (first, second) = rows(GOOD, COLLAPSED)
    assert {name: first[name] for name in OURS.split(",")} == {
        "member": "mse_4.0-perceptual_0.0",
        "state": "finished",
        "model": "reference",
        "optimizer": "reference",
        "seed": "42",
        "l1_weight": "0.125",
        "bce_weight": "0.25",
        "mse": "0.005",
        "perceptual_oxford": "",
        "psnr_db": "20.0",
        "training_s": "60.4",
        "together": "2",
        "message": "",
    }
    assert second["perceptual_oxford"] == "7.0"


def test_members_that_failed_are_in_the_table_and_say_why():
    _, (first, second) = rows(DIVERGED, COLLAPSED)
    assert (first["state"], second["state"]) == ("diverged", "collapsed")
    assert first["message"] == DIVERGED.message  # which has a comma in it
    for name in ("target_loss", "mse", "psnr_db", "training_s"):
        assert first[name] == "", name
    assert float(second["psnr_db"]) == pytest.approx(9.03, abs=0.01)


@pytest.mark.parametrize(
    ("objective", "column"),
    [
        ({"vgg": "torchvision"}, "perceptual_torchvision"),
        ({"vgg": "torchvision", "preparation": "none"}, "perceptual_torchvision_unprepared"),
        ({"vgg": "/weights/own.h5"}, "perceptual_own"),
    ],
)
def test_errors_of_other_features_have_another_column(objective, column):
    _, (_, row) = rows(GOOD, COLLAPSED, base=BASE | {"objective": objective})
    assert row[column] == "7.0"
    assert "perceptual_oxford" not in row


def test_a_path_stands_for_its_source():
    _, (row, _) = rows(GOOD, GOOD, base=BASE | {"data": {"source": "tfds:x", "path": "/images"}})
    assert row["IMAGES_PATH"] == "/images"


SEEDS = Axis(("training.seed",), tuple((seed,) for seed in range(13)))


def with_loss(loss):
    return Outcome(state="finished", losses={"loss": loss, "mse": loss}, mse=0.01, training_s=3.0)


def test_the_best_are_the_ten_of_smallest_loss_among_those_that_did_not_fail():
    lost = Outcome(state="collapsed", losses={"loss": 0.0001}, mse=0.0)
    ended = [with_loss(1.0 - 0.05 * seed) for seed in range(12)] + [lost]
    lines = sweep.best(results(*ended, axis=SEEDS)).splitlines()
    assert lines[0] == "Objective 1 mse + 0.125 l1 + 0.25 bce:"
    members = [line.split(" | ")[0] for line in lines if line.startswith("| seed")]
    assert members == [f"| seed_{seed}" for seed in range(11, 1, -1)]
    assert lines[-1] == "1 of 13 failed: seed_12 collapsed"


def test_objectives_that_do_not_compare_have_a_table_each():
    text = sweep.best(results(GOOD, DIVERGED))
    first, second = text.split("\n\nObjective ")
    assert "| mse_4.0-perceptual_0.0 | 0.02 | 20.0 | 60 (with 1 more) |" in first
    assert second.startswith("2.8 mse + 0.125 l1 + 0.25 bce + 0.3 perceptual:")
    assert second.endswith("1 of 1 failed: mse_2.8-perceptual_0.3 diverged")


def saved(monkeypatch, results, axes):
    """Return what is drawn."""
    drawn = {}
    monkeypatch.setattr(plots, "grid", lambda **given: drawn.update(given) or Figure())
    monkeypatch.setattr(plots, "save", lambda *_: None)
    sweep.save_plot(results, Grid(BASE, axes), Path())
    return drawn


def test_the_picture_shows_every_axis(monkeypatch):
    axes = (
        WEIGHTS,
        Axis(("model.name",), (("smooth",),)),
        Axis(("optimizer.name",), (("adamw",),)),
    )
    members = Grid(BASE, axes).members()
    drawn = saved(monkeypatch, list(zip(members, (GOOD, COLLAPSED), strict=True)), axes)
    assert drawn["axes"] == {
        "objective.mse, objective.perceptual": ["4.0, 0.0", "2.8, 0.3"],
        "model.name": ["smooth", "smooth"],
        "optimizer.name": ["adamw", "adamw"],
    }
    assert drawn["losses"] == [0.02, None]
    assert drawn["title"] == "2 runs"


def test_members_of_one_weighting_are_a_series(monkeypatch):
    drawn = saved(monkeypatch, results(GOOD, GOOD), (WEIGHTS,))
    extra = " + 0.125 l1 + 0.25 bce"
    assert drawn["series"] == [f"4 mse{extra}", f"2.8 mse{extra} + 0.3 perceptual"]
