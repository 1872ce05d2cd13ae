"""What an evaluation knows of its pairs, what it says and what it leaves to others."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from jaxsurf.frames import animate
from jaxsurf.images.image_set import ImageSet
from jaxsurf.manifold.path import Timing
from jaxsurf.pipeline import evaluate
from jaxsurf.pipeline.evaluate import EvaluateConfig

QUICK = {"num_pairs": 7, "truth": "images"}


@pytest.fixture
def cheat(monkeypatch):
    """Has all methods show what a function makes of a route's ends, in so many frames."""

    def patch_in(make):
        original = animate.animate

        def cheated(model, routes, *, methods, timing):
            made = original(model, routes, methods=methods, timing=timing)
            for route, by_method in zip(routes, made, strict=True):
                for animation in by_method.values():
                    frames = make(*route.images, len(animation.frames))
                    object.__setattr__(animation, "frames", frames)
            return made

        monkeypatch.setattr(animate, "animate", cheated)

    return patch_in


def cut(source, target, number):
    """Jump from source to target half way."""
    return np.stack([source] * (number // 2) + [target] * (number - number // 2))


def dissolve(source, target, number):
    share = np.linspace(0, 1, number)[:, None, None, None]
    return np.rint((1 - share) * source + share * target).astype(np.uint8)


def test_three_questions_give_cheats_away_in_the_text_of_one_run_and_of_several(run, cheat):
    """`interpolation_mse` alone is won by a cut: both its frames are images of the set."""
    cheat(cut)
    made = evaluate.measure(run, EvaluateConfig(**QUICK))
    scores = made.content["methods"]["surfing"]
    assert scores["interpolation_mse"]["mean"] == 0 < scores["leaps"]["mean"]
    assert any("not even" in fault for fault in made.content["faults"]["surfing"])
    alone, both = str(made), evaluate.side_by_side({"one": made, "two": made})
    for method, faults in made.content["faults"].items():
        line = f"{method}: {'; '.join(faults)}"
        assert alone.splitlines().count(f"  {line}") == 1
        for name in ("one", "two"):
            assert both.splitlines().count(f"  {name} {line}") == 1
    cheat(dissolve)
    found = evaluate.measure(run, EvaluateConfig(**QUICK)).content["faults"]
    assert any("not real" in fault for fault in found["surfing"])
    assert "true" not in found


def test_worst_pairs_know_which_factors_come_back(run):
    factors = run.images.factors[:, [-2]]  # the only one that varies
    names = run.images.factor_names[-2:-1]
    made = {"factors": factors, "factor_names": names, "draw": None, "recipe": ""}
    config = EvaluateConfig(methods=("linear",), graph=run.config.graph, **QUICK)
    for periodic, expected in (({}, [0.0]), ({names[0]: 40.0}, [40.0])):
        here = replace(run, images=replace(run.images, periodic=periodic, **made))
        shown = evaluate.measure(here, config).worst
        assert [list(pair.periods) for pair in shown] == [expected] * 5


def test_leaps_are_counted_at_48_frames_whatever_the_timing(run):
    leaps = [
        evaluate.measure(run, EvaluateConfig(timing=Timing(**timing), **QUICK)).rows
        for timing in ({"frames": 48}, {"frames": 5}, {})
    ]
    first, *others = ([row["leaps"] for row in rows if row["method"] != "true"] for rows in leaps)
    assert len(first) == 3 * 7
    assert others == [first, first]
    assert leaps[1][0]["num_frames"] == 5
    assert "ppl" not in leaps[0][0]


def test_perceptual_steps_where_asked_for(run):
    config = EvaluateConfig(methods=("linear",), num_pairs=2, truth="none", perceptual=True)
    scores = evaluate.measure(run, config).content["methods"]["linear"]
    assert scores["ppl"]["mean"] > 0 < scores["pdv"]["mean"]


def test_pairs_are_spread_over_factors_unless_random_ones_are_asked_for(run):
    found = {}
    for spread in (True, False):
        config = EvaluateConfig(spread=spread, methods=("linear",), num_pairs=19, truth="images")
        made = evaluate.measure(run, config)
        found[made.content["pairs"]] = np.array([row["ends_distance"] for row in made.rows[::2]])
        words = "spread evenly over the distance" if spread else "19 random pairs"
        assert words in str(made)
    # One in each nineteenth of the 39 steps.
    assert np.all(np.abs(found["spread"] - 39 * (np.arange(19) + 0.5) / 19) <= 39 / 19 + 1)
    unseen = evaluate.measure(run, replace(config, truth="none", spread=True)).rows[::2]
    assert [row["ends_distance"] for row in unseen] == found["random"].tolist()


def test_without_factors_the_text_says_why_right_is_not_known(run):
    bare = ImageSet(images=run.images.images, name="bare")
    here = replace(run, images=bare)
    made = evaluate.measure(here, EvaluateConfig(num_pairs=3, graph=run.config.graph))
    assert "what is right can't be told: bare has no factors" in str(made)
    header, *rows = [line.split() for line in evaluate.table({"": made.content})[1:]]
    assert header[:2] == ["consistency", "course"]
    assert rows[1][0] == "pixel"
    assert rows[1].count("-") == 2  # course and leaps
    assert made.content["worst"]["metric"] == "consistency"
    assert not made.worst[0].poses


def test_what_is_written_belongs_together(run):
    made = evaluate.evaluate(run, EvaluateConfig(**QUICK))
    saved = json.loads(run.workdir.evaluation.read_text())
    assert saved == made.content
    pictures = run.workdir.evaluation.with_suffix("")
    worst = saved["worst"]["pairs"]
    assert {path.name for path in pictures.iterdir()} == {
        "distance.png",
        *(f"worst-{number}.png" for number in range(1, 6)),
    }
    for path in pictures.iterdir():
        Image.open(path).verify()
    with run.workdir.evaluation.with_suffix(".csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["method"] == "surfing"]
    order = sorted(rows, key=lambda row: -float(row["course"]))
    assert [[int(row["source"]), int(row["target"])] for row in order[:5]] == worst
    shown = made.worst[0]
    assert shown.title.startswith(f"{worst[0][0]} to {worst[0][1]}: course ")
    assert shown.poses["surfing"].shape == (len(shown.rows["surfing"]), 1)
    np.testing.assert_allclose(shown.courses[0][[0, -1], 0], worst[0])  # the arm's only factor


def test_several_working_directories_are_shown_side_by_side(launch, root, tmp_path):
    other = shutil.copytree(root, tmp_path / "a,b")  # which is one of them
    flags = ("--num_pairs=3", "--truth=none", "--methods=surfing")
    assert launch("evaluate", f"--workdir={other}", *flags).status == 0
    third = other.rename(tmp_path / "third")
    outcome = launch("evaluate", f"--workdir={root},{third}", *flags)
    assert outcome.status == 0, outcome.err
    for folder in (root, third):
        assert outcome.out.count(f"  {folder} surfing ") == 1
        assert f"{folder}: surfing / linear (share of pairs" in outcome.out
        assert (folder / "evaluation.json").exists()
