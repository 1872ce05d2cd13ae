"""What users rely on, frozen: values on given codes with a given decoder, files of trained runs.

`tests/golden/*.json` holds what is expected. Numbers are compared with tolerances; versions,
fingerprints and what depends on the machine by their names alone. When a test fails here, the
product has changed for its users: mend the code. Where the change is wanted, delete the file, run
the test, which writes a new one and fails, look at `git diff tests/golden`, and say in the commit
what users will notice.

Everything goes through doors that stay: launch scripts and files in working directories. What has
no such door stands in `given_run` alone.
"""

import csv
import json
import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

GOLDEN = Path(__file__).parents[1] / "golden"
# A pixel of a frame may be rounded the other way by another version of XLA.
RTOL, ATOL = 5e-4, 1e-6
SIDE, NUM_IMAGES = 16, 31
# Known by name alone: they follow from versions, rounding and pixels.
BY_NAME = ("versions", "fingerprint", "frame_errors", "frame_steps")


def ring_codes():
    """Return codes around a hole, so that a path along them is longer than the straight line."""
    random = np.random.default_rng(7)
    angles = 2 * np.pi * (np.arange(NUM_IMAGES) + random.uniform(-0.3, 0.3, NUM_IMAGES))
    radii = random.uniform(0.42, 0.48, NUM_IMAGES)
    return (radii * [np.cos(angles / NUM_IMAGES), np.sin(angles / NUM_IMAGES)]).T


def draw(xp, codes):
    """Return a blob at each code, by NumPy or by JAX."""
    places, colour = xp.linspace(-1, 1, SIDE), xp.array([0.9, 0.6, 0.3])
    lines = xp.exp(-((codes[:, :, None] - places[None, None]) ** 2) / 0.08)
    columns, rows = lines[:, 0, None, :, None], lines[:, 1, :, None, None]
    return rows * columns * colour[None, None, None]


def given_run(root):
    """Return functions that surf and evaluate a run with known codes and a known decoder.

    This is all that knows how a run object is put together.
    """
    from jaxsurf.images.image_set import ImageSet
    from jaxsurf.manifold.graph import GraphConfig
    from jaxsurf.models.autoencoder import Autoencoder, Constant
    from jaxsurf.pipeline import configuration, evaluate, surf
    from jaxsurf.pipeline.run import Run
    from jaxsurf.workdir import WorkDir

    class Blobs(Autoencoder):
        """A code is where a blob is: the decoder draws it there, the encoder takes its centre."""

        def __init__(self):
            self.places = Constant(jnp.linspace(-1, 1, SIDE, dtype=jnp.float32))

        def encode(self, images):
            light = images.sum(3)
            places = self.places[...][None]
            columns, rows = ((light.sum(axis) * places).sum(1) for axis in (1, 2))
            return jnp.stack([columns, rows], 1) / light.sum((1, 2))[:, None]

        def decode(self, codes):
            return draw(jnp, codes)

    run = Run(
        workdir=WorkDir(root),
        config=configuration.from_dict({"graph": {"weight": "image"}}),
        images=ImageSet((draw(np, ring_codes()) * 255).round().astype(np.uint8), "blobs"),
        model=Blobs(),
        step=7,
    )

    def surf_given(graph=None, **settings):
        config = surf.SurfConfig(
            **settings, graph=graph and GraphConfig(**{"weight": "image"} | graph)
        )
        return surf.surf(run, config).folder

    def evaluate_given(**settings):
        evaluate.evaluate(run, evaluate.EvaluateConfig(**settings))
        return root / "evaluation.json"

    return surf_given, evaluate_given


def content(path):
    """Return what a file or a folder holds, as far as it is frozen."""
    if path.is_dir():
        return {each.name: content(each) for each in sorted(path.iterdir())}
    if path.suffix == ".json":
        return without_chance(json.loads(path.read_text()))
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [[number(cell) for cell in row] for row in csv.reader(file)]
    if path.suffix == ".txt":
        return [[number(cell) for cell in line.split()] for line in path.read_text().splitlines()]
    if path.suffix == ".npy":
        array = np.load(path)
        return {"dtype": str(array.dtype), "values": array.tolist()}
    if path.suffix == ".gif":
        # Equal frames are merged by the writer: their number says nothing.
        with Image.open(path) as film:
            durations = []
            for frame in range(film.n_frames):
                film.seek(frame)
                durations.append(film.info["duration"])
            return {"size": list(film.size), "duration_ms": sum(durations)}
    return path.suffix


def number(cell):
    try:
        return float(cell)
    except ValueError:
        return cell


def without_chance(value):
    """Return JSON whose entries by other runs or machines are replaced by their names."""
    if isinstance(value, list):
        return [without_chance(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        name: (sorted(each) if isinstance(each, dict) else type(each).__name__)
        if name in BY_NAME
        else without_chance(each)
        for name, each in value.items()
    }


def check(name, found):
    """Compare with a golden file; one that is missing is written, and the test fails."""
    path = GOLDEN / f"{name}.json"
    if not path.exists():
        text = json.dumps(found, indent=1)
        # Rows of numbers on one line.
        text = re.sub(r"\[[^\[\]{}]*\]", lambda row: " ".join(row[0].split()), text)
        path.write_text(text + "\n")
        pytest.fail(f"{path} was missing and has been written: look at it and run again")
    found, golden = flat(found), flat(json.loads(path.read_text()))
    assert list(found) == list(golden), "names and lengths"
    for place, leaf in golden.items():
        exact = isinstance(leaf, str)
        assert found[place] == (leaf if exact else pytest.approx(leaf, rel=RTOL, abs=ATOL)), place


def flat(value, place=""):
    """Return nested values by their places; what has to be equal as a text."""
    if not value or not isinstance(value, dict | list):
        return {place: value if isinstance(value, float) else repr(value)}
    each = value.items() if isinstance(value, dict) else enumerate(value)
    return {at: leaf for n, some in each for at, leaf in flat(some, f"{place}/{n}").items()}


@pytest.fixture
def command(launch):
    """Runs a launch script, which has to go well."""

    def run(*given):
        outcome = launch(*given)
        assert outcome.status == 0, outcome.err

    return run


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("surf_pair", {"source": "2", "target": "15"}),
        ("surf_anchors", {"anchors": ("2", "25", "9", "code:0.1,-0.2"), "loop": True}),
        (
            "surf_graph",
            {"source": "2", "target": "15", "graph": {"kind": "radius", "radius": 0.4}},
        ),
    ],
)
def test_a_surf_on_given_codes(name, settings, tmp_path):
    surf, _ = given_run(tmp_path)
    folder = surf(**settings)
    found = content(folder)
    check(name, {"folder": str(folder.relative_to(tmp_path)), "files": found})


def test_an_evaluation_on_given_codes(tmp_path):
    _, evaluate = given_run(tmp_path)
    path = evaluate(num_pairs=20, seed=3)
    found = {"evaluation.json": content(path), "evaluation.csv": content(path.with_suffix(".csv"))}
    check("evaluation", found)


@pytest.mark.parametrize(
    ("name", "flags"),
    [
        ("paths_surfing", ("--anchors=3,17,25", "--loop", "--order=best", "--frames=12")),
        ("paths_linear", ("--method=linear", "--anchors=3,code:0.1,-0.2", "--snap")),
        ("paths_pc", ("--method=pc", "--support_radius=0.2")),
    ],
)
def test_paths_through_given_codes(name, flags, tmp_path, command):
    np.save(tmp_path / "codes.npy", ring_codes())
    command("paths", f"--latents={tmp_path / 'codes.npy'}", f"--out={tmp_path / 'out'}", *flags)
    check(name, content(tmp_path / "out"))


def keys(value):
    """Return nested names without values."""
    return {name: keys(each) for name, each in value.items()} if isinstance(value, dict) else None


def test_what_a_run_leaves_behind(tmp_path, command):
    workdir = f"--workdir={tmp_path}"
    # With fewer pixels it takes three quarters of the time.
    command("train", "--config=configs/tiny.py", "--config.data.side=16", workdir)
    command("surf", workdir, "--source=801", "--target=968")
    command("evaluate", workdir, "--num_pairs=5", "--methods=surfing,pixel", "--truth=images")
    command("report", workdir)
    metrics = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in metrics] == [*range(10, 101, 10)]
    names = {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")}
    told = {name for name in names if not name.startswith(("events.", "checkpoints/"))}
    told |= {f"checkpoints/{step}" for step in (100,) if f"checkpoints/{step}" in names}
    told |= {"events.*" for name in names if name.startswith("events.")}
    files = {
        name: keys(json.loads((tmp_path / name).read_text()))
        for name in ("config.json", "evaluation.json", "surf/801-968/path.json")
    }
    check(
        "working_directory",
        {"names": sorted(told), "metrics": metrics and list(metrics[0])} | files,
    )


@pytest.mark.slow
def test_surfing_beats_the_straight_line(tmp_path, command):
    workdir = f"--workdir={tmp_path}"
    # 400 images of 32 x 32, a narrow model: as long as it takes.
    small = ("--config.data.side=32", "--config.data.stride=2", "--config.model.channels=16")
    command("train", "--config=configs/arm.py", *small, "--config.training.num_epochs=200", workdir)
    command("evaluate", workdir, "--num_pairs=100", "--methods=surfing", "--truth=none")
    evaluation = json.loads((tmp_path / "evaluation.json").read_text())
    assert evaluation["versus"]["surfing"]["interpolation_mse"]["ratio"] < 0.8
