"""The reproduction: rules of its claims on made-up figures; the whole of it on 25 small images."""

import re
from types import SimpleNamespace

import pytest

from jaxsurf.errors import UserError
from jaxsurf.images import sources
from jaxsurf.pipeline import experiments
from jaxsurf.pipeline.reproduce import (
    claims,
    cures,
    page,
    pictures,
    reproduction,
    rules,
    runs,
    scale,
)
from jaxsurf.pipeline.reproduce.claims import Evidence
from jaxsurf.pipeline.reproduce.cures import WayScore
from jaxsurf.pipeline.reproduce.measures import Measures
from jaxsurf.pipeline.reproduce.scale import Scale
from jaxsurf.pipeline.sweep import Outcome

LINEAR = {"interpolation_mse": 10.0, "path_length": 2.0, "step_unevenness": 0.2}


def made(mse=1e-3, **changes):
    """A run's figures: about as they come out."""
    surfing = {"interpolation_mse": 8.0, "path_length": 3.0, "step_unevenness": 0.4}
    usual = {
        "loss": 4e-3,
        "mse": mse,
        "sharpness": 0.9,
        "colour_error": 1.0,
        "k": 4,
        "scores": {"linear": LINEAR, "surfing": surfing | changes.pop("surfing", {})},
        "ratio": 0.8,
        "win_rate": 0.7,
        "same_value": None,
    }
    return Measures(**(usual | changes))


def test_blur_is_less_sharpness_than_the_images():
    assert rules.blurred(made(sharpness=0.9)).holds
    assert not rules.blurred(made(sharpness=1.0)).holds


@pytest.mark.parametrize(("ks", "holds"), [((4, 3), True), ((3, 4), False), ((5, 3), False)])
def test_connecting_k_is_compared_exactly(ks, holds):
    verdict = rules.connecting(made(k=ks[0]), made(k=ks[1]))
    assert verdict.holds is holds
    assert verdict.text == f"k = {ks[0]} and {ks[1]}"


def test_surfing_has_to_score_lower():
    assert rules.surfing(made()).holds
    assert not rules.surfing(made(ratio=1.01)).holds
    assert rules.surfing(made()).text == "8.00 against 10.00: 0.80, better in 70%"


@pytest.mark.parametrize(
    ("perceptual", "holds"),
    [
        ({"mse": 4e-3, "colour_error": 2.0, "sharpness": 0.95}, True),
        ({"mse": 4e-3, "colour_error": 2.0, "sharpness": 0.5}, False),
        ({"mse": 4e-3, "colour_error": 1.2, "sharpness": 0.95}, False),
        ({"mse": 1e-3, "colour_error": 2.0, "sharpness": 0.95}, False),
    ],
)
def test_fill_is_lost_where_colours_err_but_edges_do_not(perceptual, holds):
    assert rules.lost_fill(made(), made(**perceptual)).holds is holds


@pytest.mark.parametrize(
    ("combined", "holds"),
    [
        ({"sharpness": 0.95, "colour_error": 1.1}, True),
        ({"sharpness": 0.85, "colour_error": 1.1}, False),
        ({"sharpness": 0.95, "colour_error": 1.9}, False),
    ],
)
def test_together_is_better_where_it_is_sharper_and_keeps_the_fill(combined, holds):
    verdict = rules.better_together(made(), made(colour_error=2.0), made(**combined))
    assert verdict.holds is holds


def test_three_dimensions_have_to_gain_a_fifth():
    assert rules.smaller_error(made(1e-3), made(0.7e-3)).holds
    assert not rules.smaller_error(made(1e-3), made(0.9e-3)).holds
    assert rules.smaller_error(made(1e-3), made(0.7e-3)).text.startswith("30% smaller")


def test_jerks_are_uneven_steps_of_a_path_that_scores_lower():
    assert rules.near_the_data(made(ratio=0.97)).holds
    assert not rules.near_the_data(made(ratio=0.85)).holds
    assert rules.jerky(made()).holds
    assert not rules.jerky(made(surfing={"step_unevenness": 0.1})).holds
    assert not rules.jerky(made(ratio=1.2)).holds
    assert rules.long_way(made(surfing={"path_length": 4.0})).holds
    assert not rules.long_way(made(surfing={"path_length": 2.1})).holds


def test_clusters_are_neighbours_of_one_value():
    assert rules.clusters(made(same_value=0.99)).holds
    assert not rules.clusters(made(same_value=0.6)).holds


def way(**changes):
    """One way to interpolate, about as the report's."""
    usual = {"num_frames": 30.0, "detour": 2.0, "interpolation_mse": 8.0, "worst": 20.0}
    return WayScore(**(usual | {"jump": 3.0, "unevenness": 0.5} | changes))


@pytest.mark.parametrize(
    ("changes", "by_radius", "by_others"),
    [
        ({"detour": 1.2, "unevenness": 0.3}, True, True),
        ({"detour": 2.5, "unevenness": 0.3}, False, True),
        ({"detour": 1.2, "unevenness": 0.6}, False, False),
        ({"detour": 1.2, "unevenness": 0.3, "interpolation_mse": 12.0}, False, False),
    ],
)
def test_a_cure_is_smoother_and_no_less_faithful_and_a_radius_shorter_too(
    changes, by_radius, by_others
):
    after = way(**changes)
    ways = {
        cures.REPORTS: way(),
        cures.RADIUS: after,
        cures.IMAGES: after,
        cures.CONSTANT_SPEED: after,
    }
    assert rules.radius(ways).holds is by_radius
    assert rules.image_weights(ways).holds is by_others
    assert rules.constant_speed(ways).holds is by_others
    assert rules.radius({}).holds is None


def grid_of(**psnr_db):
    """Results of members by noise, such as normal_0.2=30."""
    results = []
    for noise, value in psnr_db.items():
        kind, _, strength = noise.partition("_")
        noise = SimpleNamespace(kind=kind, strength=int(strength) / 10)
        config = SimpleNamespace(corruption=noise, objective=SimpleNamespace(perceptual=0.0))
        outcome = Outcome(state="finished", mse=10 ** (-value / 10))
        results.append((SimpleNamespace(config=config), outcome))
    return results


def test_the_best_noise_is_that_of_the_best_reconstructions():
    assert rules.best_noise(grid_of(normal_1=29, normal_2=30, white_2=28)).holds
    assert not rules.best_noise(grid_of(normal_1=31, normal_2=30, white_2=28)).holds
    assert rules.best_noise(grid_of(normal_1=31, normal_2=30)).text == (
        "0.1 normal: 31.0 dB, 0.2 normal: 30.0 dB"
    )
    assert rules.best_noise([]).holds is None


def evidence_of(**measures):
    """Runs of every experiment; those without figures collapsed."""
    done = {
        (name, model): SimpleNamespace(
            name=name,
            model=model,
            about=experiment.about,
            config=Scale().config(name, model),
            outcome=Outcome(state="finished" if name in measures else "collapsed", training_s=1.0),
        )
        for name, experiment in experiments.EXPERIMENTS.items()
        for model in experiments.MODELS
        if not name.startswith("noise_")
    }
    found = {key: measures[key[0]] for key in done if key[0] in measures}
    return Evidence(runs=done, measures=found, ways={}, grids={})


def test_page_has_a_row_for_every_claim_and_says_what_failed():
    evidence = evidence_of(mse_2d=made(), mse_3d=made(0.6e-3))
    judged = claims.judge_all(evidence)
    text = page.markdown(Scale(), judged, evidence, {}, [])
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(judged) == 18
    assert len({line.count(" | ") for line in rows}) == 1, "every row has every column"
    failed = next(line for line in rows if "keeps the edges" in line)
    assert "perceptual_2d collapsed" in failed
    assert "**not measured**" in failed
    gained = next(line for line in rows if "about 30 %" in line)
    assert "40% smaller" in gained
    assert "**holds**" in gained
    assert "The poses do not fit a plane" in gained
    smaller = "1 in 2 values of each axis, 32 x 32 pixels"
    assert f"mse_2d reference: {smaller}, 40 of 600 epochs, batches of 16 for 8" in gained
    noises = next(line for line in rows if "six noises" in line)
    assert f"grid reference: {smaller}, 10 of 300 epochs" in noises


def test_why_tells_what_explains_each_outcome_and_nothing_where_there_is_none():
    claim = claims.RUN_CLAIMS[0]

    def why(*holds):
        verdicts = {str(n): rules.Verdict("", each) for n, each in enumerate(holds)}
        return claims.Judged(claim, verdicts).why

    assert why(True, True) == claim.holding
    assert why(False, None) == claim.failing
    assert why(True, False) == f"{claim.holding} Where not: {claim.failing}"
    assert why(None, None) == ""


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (Scale(name="full"), "begun with --scale=small, not full"),
        (Scale(mpi3d="some.npz"), "begun with --mpi3d=False, not True"),
    ],
)
def test_another_reproduction_in_the_same_folder_is_refused(other, words, tmp_path):
    runs.check_scale(Scale(), tmp_path)
    runs.check_scale(Scale(), tmp_path)
    with pytest.raises(UserError, match=words):
        runs.check_scale(other, tmp_path)


def test_example_pair_is_the_reports_where_its_images_are():
    whole = sources.open_images("arm", side=32)
    assert pictures.example_pair(whole) == (801, 968)
    thinned = sources.open_images("arm", side=32, stride=2)
    assert pictures.example_pair(thinned) == (200, 244)


def test_missing_mpi3d_file_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(UserError, match=r"there is no nowhere\.npz; name MPI3D-toy's"):
        reproduction.reproduce(Scale(mpi3d="nowhere.npz"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.fixture
def tiny(monkeypatch, cache_home):
    """The small scale, smaller still: runs of a second or two, whose programs are few."""
    monkeypatch.setattr(scale, "SMALL_DATA", {"data.side": 32, "data.stride": 8})
    for name in ("SMALL_EPOCHS", "SMALL_PERCEPTUAL_EPOCHS", "SMALL_GRID_EPOCHS"):
        monkeypatch.setattr(scale, name, 3)
    for name in ("SMALL_BATCH", "SMALL_PERCEPTUAL_BATCH", "SMALL_GRID_BATCH"):
        monkeypatch.setattr(scale, name, 8)
    for recipe in (experiments.REFERENCE, experiments.LONG, experiments.GRID_BASE):
        monkeypatch.setitem(recipe, "model.channels", 16)
    monkeypatch.setattr(Scale, "num_pairs", 5)


@pytest.mark.slow
def test_whole_road_writes_every_animation_and_figure_and_resumes(tiny, tmp_path, monkeypatch):
    result = reproduction.reproduce(Scale(), tmp_path, shown=False)
    text = result.path.read_text()
    animations = {path.name for path in tmp_path.glob("animations/*/*.gif")}
    good = {run.parent.name for run in tmp_path.glob("runs/*/measures.json")}
    for name, pattern in pictures.ANIMATED.items():
        if {f"{model}-{name}" for model in experiments.MODELS} & good:
            assert {pattern.format(method) for method in ("linear", "surfing")} <= animations
    assert good, "some run has to learn something in three epochs"
    for link in re.findall(r"\]\(([^)]+)\)", text):
        assert (tmp_path / link).exists(), link
    # Nothing is trained or measured a second time.
    monkeypatch.setattr(runs.sweep, "train_and_judge", None)
    monkeypatch.setattr(cures.evaluate, "measure", None)
    assert reproduction.reproduce(Scale(), tmp_path, shown=False).path.read_text() == text
