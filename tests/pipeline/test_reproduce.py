"""The reproduction: its claims on made-up figures; what it measures; the whole on few images."""

import re
from dataclasses import replace

import numpy as np
import pytest

from jaxsurf.images import sources
from jaxsurf.images.image_set import ImageSet
from jaxsurf.pipeline import configuration, experiments
from jaxsurf.pipeline.reproduce import claims, measures, reproduction
from jaxsurf.pipeline.reproduce.claims import Verdict
from jaxsurf.pipeline.reproduce.measures import INTERPOLATIONS, Measured
from jaxsurf.pipeline.reproduce.reproduction import Scale
from jaxsurf.pipeline.sweep import Member, Outcome

# A run's figures, about as they come out; those of paths by interpolation.
USUAL = {"loss": 4e-3, "mse": 1e-3, "psnr_db": 30.0, "sharpness": 0.9, "colour_error": 1.0, "k": 4}
USUAL |= {"ratio": 0.8, "win_rate": 0.7, "same_value": 0.97, "right_rate": 0.6}
PATH = {"num_frames": 30, "path_length": 3.0, "detour": 1.3, "interpolation_mse": 8.0}
PATH |= {"interpolation_mse_worst": 20.0, "step_jump": 3.0, "step_unevenness": 0.3}
PATH |= {"residual": 6.0, "course": 3.0, "leaps": 0.5}
for interpolation in ("linear", "surfing", *INTERPOLATIONS):
    USUAL |= {f"{interpolation}.{metric}": value for metric, value in PATH.items()}
USUAL |= {"linear.interpolation_mse": 10.0, "linear.step_unevenness": 0.2}
USUAL |= {"surfing.step_unevenness": 0.4, "surfing.detour": 1.4}
# Those of some experiments that differ from it.
OWN = {"perceptual_2d": {"mse": 2.1e-3, "colour_error": 2.0}}
OWN |= {f"combined_{weights}": {"sharpness": 0.91} for weights in ("70_30", "30_70", "99_1")}


def made(changes, failed=()):
    """Runs of every experiment with both models; changed figures are named as in rules."""
    runs = {}
    for name in experiments.EXPERIMENTS:
        own = {k.partition(".")[2]: v for k, v in changes.items() if k.split(".")[0] == name}
        figures = {} if name in failed else USUAL | OWN.get(name, {}) | own
        for model in experiments.MODELS:
            outcome = Outcome(state="finished" if figures else "collapsed", training_s=1.0)
            runs[name, model] = Measured(name, model, outcome, figures=figures)
    return runs


def grid_of(**psnr_db):
    """Results of members by noise, such as normal_2=30 for a strength of 0.2."""
    results = []
    for noise, value in psnr_db.items():
        kind, _, strength = noise.partition("_")
        corruption = {"kind": kind, "strength": int(strength) / 10}
        objective = {"perceptual": float(value > 35)}
        config = configuration.from_dict({"corruption": corruption, "objective": objective})
        outcome = Outcome(state="finished", mse=10 ** (-value / 10))
        results.append((Member(noise, config), outcome))
    return dict.fromkeys(experiments.MODELS, results)


def judge(words, changes, grids=None):
    """Return the verdict on the claim whose text has some words."""
    judged = claims.judge_all(made(changes), grids or grid_of(normal_2=30))
    (one,) = [each for each in judged if words in each.says]
    return one.verdicts["smooth"]


# Words of a claim, a figure, a value with which it holds, one with which it fails: every sign of a
# rule, a number and another figure, multiplied and not, and the first and the last of several.
BOUNDS = """
a bit blurry | mse_2d.psnr_db | 25.1 | 24.9
a bit blurry | mse_2d.sharpness | - | 0.98
connecting k | mse_3d.k | 3 | 4
2-D: surfing goes | mse_2d.surfing.course | 2.9 | 3.1
Perceptual loss alone | perceptual_2d.sharpness | 0.88 | 0.86
Perceptual loss alone | mse_2d.mse | - | 1.06e-3
about 30 % | mse_3d.mse | 0.79e-3 | 0.81e-3
threshold | combined_70_30.radius.interpolation_mse | 8.3 | 8.5
image differences | combined_70_30.images.detour | 1.5 | -
"""


@pytest.mark.parametrize("case", BOUNDS.strip().splitlines())
def test_a_claim_holds_within_its_bounds_alone(case):
    words, figure, *values = case.split(" | ")
    for value, holds in zip(values, (True, False), strict=True):
        assert value == "-" or judge(words, {figure: float(value)}).holds is holds


def test_every_claim_is_about_figures_that_are_measured():
    judged = claims.judge_all(made({}), grid_of(normal_2=30))
    assert {verdict.holds for each in judged for verdict in each.verdicts.values()} == {True, False}


def test_where_surfing_goes_wrong_is_said_by_the_truth_where_it_is_known():
    runs = made({"mse_2d.surfing.course": 6.25, "mse_2d.surfing.residual": 4.5})
    told = runs["mse_2d", "smooth"].by_truth
    assert "MSE alone, smooth: surfing's frames are more real" in told
    assert "(residual 4.5 against 6.0)" in told
    assert "its way is no nearer to a right one (6.2 grid steps off against 3.0" in told
    unknown = {k: v for k, v in USUAL.items() if not k.endswith((".course", ".residual"))}
    for key, run in runs.items():
        runs[key] = replace(run, figures=unknown)
    assert runs["mse_2d", "smooth"].by_truth == ""
    judged = claims.judge_all(runs, grid_of(normal_2=30))
    (one,) = [each for each in judged if "2-D: surfing goes" in each.says]
    assert one.verdicts["smooth"] == Verdict("surfing.course, linear.course not known")


def test_best_noise_is_judged_on_runs_without_perceptual_loss():
    assert judge("six noises", {}, grid_of(normal_1=29, normal_2=30, white_2=28, white_5=40)).holds
    for other in ("normal_1", "normal_5", "white_1", "white_2", "white_5"):
        assert judge("six noises", {}, grid_of(normal_2=30, **{other: 31})).holds is False
    text = judge("six noises", {}, grid_of(normal_1=31, normal_2=30)).text
    assert text.startswith("normal_0.2 30 against 31 (0.97); normal_0.2 30 against 0;")
    assert judge("six noises", {}, {"smooth": []}).holds is None


def test_page_has_a_row_for_every_claim_and_says_what_failed():
    runs = made({"mse_3d.mse": 0.6e-3}, failed={"perceptual_2d"})
    judged = claims.judge_all(runs, grid_of(normal_2=30))
    text = reproduction.render(
        Scale(),
        judged=judged,
        runs={key: run for key, run in runs.items() if not key[0].startswith("noise_")},
        animated={},
        best=dict.fromkeys(experiments.MODELS, "no member"),
        pictures=[],
    )
    rows = [line for line in text.splitlines() if re.match(r"\| \d+ \|", line)]
    assert len(rows) == len(judged) == 21
    for table in text.split("\n\n"):
        if table.startswith("|"):
            assert len({line.count("|") for line in table.splitlines()}) == 1, table
    failed = next(line for line in rows if "keeps the edges" in line)
    assert "| perceptual_2d collapsed | perceptual_2d collapsed | **not measured** |  |" in failed
    gained = next(line for line in rows if "about 30 %" in line)
    assert "| `mse_3d.mse < 0.8 * mse_2d.mse` | mse 0.0006 against 0.001 (0.60) |" in gained
    assert gained.endswith("| **holds** | The poses do not fit a plane without folds. |")
    (short,) = [line for line in text.splitlines() if line.startswith("| MSE alone | reference |")]
    reduced = "1 in 2 values of each axis, 32 x 32 pixels, 40 of 600 epochs, batches of 16 for 8"
    assert short.endswith(f"| {reduced} |")


def test_example_pair_is_the_reports_where_its_images_are():
    names = ("horizontal_axis", "vertical_axis")
    poses = np.indices((40, 40), dtype=np.float32).reshape(2, -1).T
    whole = ImageSet(np.zeros((1600, 1, 1, 3), np.uint8), "all", poses, names)
    assert reproduction.example_pair(whole) == (801, 968)
    thinned = sources.open_images("arm", side=32, stride=2)
    assert reproduction.example_pair(thinned) == (200, 244)


@pytest.mark.slow
def test_whole_pipeline_writes_every_animation_and_figure_and_resumes(
    monkeypatch, cache_home, tmp_path
):
    # The small scale, smaller still: runs of a few seconds, whose programs are few.
    monkeypatch.setattr(reproduction, "SMALL_DATA", {"data.side": 32, "data.stride": 8})
    monkeypatch.setattr(reproduction, "SMALL", dict.fromkeys(reproduction.SMALL, (12, 8)))
    for recipe in (experiments.REFERENCE, experiments.RECIPES["long"], experiments.GRID_BASE):
        monkeypatch.setitem(recipe, "model.channels", 16)
    monkeypatch.setitem(reproduction.NUM_PAIRS, "small", 5)
    summary = reproduction.reproduce(Scale(), tmp_path, shown=False)
    text = (tmp_path / "reproduction.md").read_text()
    good = {path.parent.name for path in tmp_path.glob("runs/*/measures.json")}
    expected = {
        f"animations/{model}/{pattern.format(method)}"
        for name, pattern in reproduction.ANIMATED.items()
        for model in experiments.MODELS
        for method in ("linear", "surfing")
        if f"{model}-{name}" in good
    }
    assert expected, "some run that is animated has to learn something"
    links = set(re.findall(r"\]\(([^)]+)\)", text))
    assert expected <= links
    for link in links:
        assert (tmp_path / link).exists(), link
    # Nothing is trained, measured or animated a second time.
    monkeypatch.setattr(measures.sweep, "train_and_judge", None)
    monkeypatch.setattr(measures.evaluate, "measure", None)
    monkeypatch.setattr(reproduction, "surf", None)
    assert reproduction.reproduce(Scale(), tmp_path, shown=False) == summary
    assert (tmp_path / "reproduction.md").read_text() == text


def test_sharpness_and_colour_error_equal_their_slow_formulas():
    random = np.random.default_rng(1)
    images, references = random.integers(256, size=(2, 3, 11, 13, 3), dtype=np.uint8)
    luminance = images / 255 @ [0.299, 0.587, 0.114]
    mask = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]) / 8
    around = np.lib.stride_tricks.sliding_window_view(luminance, (3, 3), (1, 2))
    slopes = np.hypot(*((around * m).sum((3, 4)) for m in (mask, mask.T))).reshape(3, 99)
    sharp = np.sort(slopes)[:, -round(0.05 * 99) :].mean(1)
    np.testing.assert_allclose(measures.sharpness(images), sharp, rtol=1e-10)
    windows = np.lib.stride_tricks.sliding_window_view([images, references], (8, 8), (2, 3))
    errors = np.abs(np.subtract(*windows.mean((5, 6)))).mean((1, 2, 3))
    np.testing.assert_allclose(measures.colour_error(images, references), errors, rtol=1e-10)


def test_scales_are_those_of_the_report_and_smaller_ones():
    for name in ("mse_2d", "perceptual_2d"):
        small, full = (Scale(name=size).config(name, "reference") for size in ("small", "full"))
        assert full == configuration.from_dotted(
            experiments.settings(name, "reference") | {"graph.weight": "latent"}
        )
        assert (small.data.side, small.data.stride) == (32, 2)
        # The learning rate falls at the same shares of the run.
        shares = [c.training.num_epochs / c.optimizer.step_epochs for c in (small, full)]
        assert shares[0] == shares[1]
    grid = Scale(name="full").grid("reference")
    assert len(grid.members) == 162
    assert sorted(map(len, grid.groups)) == [6] * 9 + [12] * 9
    config = Scale(name="full", mpi3d="mpi3d_toy.npz").config("mse_2d", "smooth")
    assert (config.data.source, config.data.path) == ("mpi3d_toy", "mpi3d_toy.npz")
