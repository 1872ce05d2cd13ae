"""Imports run one way: in each folder, modules and packages import only what stands above them."""

import ast
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxsurf"

# What stands in each folder, modules and packages, in order. A package's own file comes before all
# that is in it, unless it stands in the list itself.
ROOMS = {
    "": [
        "errors",
        "versions",
        "memory",
        "mapped",
        "writing",
        "workdir",
        "lock",
        "stopping",
        "images",
        "models",
        "training",
        "manifold",
        "frames",
        "evaluation",
        "viewing",
        "pipeline",
    ],
    "images": [
        "pixels",
        "differences",
        "summary",
        "batches",
        "factors",
        "stored",
        "cache",
        "image_set",
        "arm",
        "mpi3d",
        "picture",
        "files",
        "prepared",
        "mpi3d_set",
        "tfds_set",
        "sources",
    ],
    "models": [
        "interface",
        "pooling",
        "products",
        "winograd",
        "vgg",
        "reference",
        "narrowing",
        "smooth",
        "autoencoder",
    ],
    "images/arm": ["factors", "solids", "scene", "render", "__init__"],
    "images/mpi3d": ["archive", "mpi3d_dataset_builder"],
    "models/vgg": ["layers", "torch_file", "weights", "foreign", "source", "network"],
    "training": [
        "corruption",
        "examples",
        "objective",
        "features",
        "optimizer",
        "lifeline",
        "hosts",
        "sharding",
        "keeping",
        "seal",
        "shelf",
        "checkpoint",
        "journal",
        "plan",
        "seeding",
        "step",
        "pieces",
        "feed",
        "loop",
        "losses",
        "sweep",
        "hooks",
        "profiling",
    ],
    "manifold": [
        "arrays",
        "cache",
        "euclid",
        "principal",
        "compilation",
        "neighbours",
        "knn",
        "approximate",
        "encode",
        "edges",
        "components",
        "graph_config",
        "graph",
        "outside",
        "shortest_paths",
        "search",
        "path",
    ],
    "manifold/arrays": ["pickled", "array_file"],
    "manifold/neighbours": [
        "candidates",
        "ranking",
        "halving",
        "leaves",
        "kd_tree",
        "smallest",
        "tiles",
        "device_table",
        "exact",
        "within",
    ],
    "manifold/edges": ["weighting", "edge_lists", "csr", "altering", "trimming", "saved"],
    "manifold/components": ["foreign", "spanning", "connecting", "connectivity", "repair"],
    "manifold/shortest_paths": [
        "ends",
        "shortening",
        "visiting",
        "node_path",
        "plain",
        "numbering",
        "fronts",
        "finder",
        "planning",
        "relaxation",
    ],
    "frames": ["decode", "lengths", "animate", "media"],
    "evaluation": ["sampling", "metrics", "appearance", "reconstruction", "pairs"],
    "viewing": ["plots", "report"],
    "pipeline": [
        "run",
        "ends",
        "surf",
        "evaluate",
        "report",
        "quickstart",
        "sweep",
        "compare",
        "reproduce",
        "command",
        "paths",
        "benchmark",
    ],
    "pipeline/run": [
        "setting_values",
        "configuration",
        "experiments",
        "assembly",
        "program",
        "distances",
        "trained",
        "resumption",
        "collapse",
        "fitting",
        "train",
    ],
    "pipeline/sweep": ["grid", "outcome", "together", "scores", "pipeline"],
    "pipeline/compare": ["table", "pipeline"],
    "pipeline/command": ["heap", "compiler", "options", "way_options", "complaints", "script"],
    "pipeline/reproduce": [
        "scale",
        "runs",
        "measures",
        "cures",
        "rules",
        "claims",
        "pictures",
        "page",
        "reproduction",
    ],
    "pipeline/paths": [
        "sample",
        "config",
        "flags",
        "anchors",
        "way",
        "folder",
        "support",
        "tables",
        "picture",
        "straight",
        "surfing",
        "pipeline",
    ],
    "pipeline/benchmark": [
        "figures",
        "cases",
        "rows",
        "machine",
        "memory",
        "timing",
        "process",
        "peaks",
        "inputs",
        "former",
        "stand_in",
        "whole_set",
        "torch_models",
        "torch_loop",
        "stages",
        "suites",
    ],
    "pipeline/benchmark/stages": ["decode", "train", "sweep", "full", "graph"],
    "pipeline/benchmark/stages/graph": [
        "cryodrgn",
        "searchers",
        "lengths",
        "clouds",
        "nearest",
        "building",
        "one_pair",
        "many_pairs",
        "interpolation",
        "pipeline",
    ],
}
# Third-party libraries that may change under us have one owner, a module or a package; benchmarks
# call them as peers.
OWNERS = {
    "igraph": {"manifold/shortest_paths/plain", "pipeline/benchmark"},
    "faiss": {"manifold/approximate", "pipeline/benchmark"},
    "numba": {"manifold/compilation"},
    "orbax": {"training/checkpoint"},
    "optax": {"training/optimizer"},
    "h5py": {"models/vgg"},
    "safetensors": {"models/vgg"},
    "tensorboardX": {"training/journal"},
    "torch": {"pipeline/benchmark"},
    "tensorflow_datasets": {"images/mpi3d", "images/prepared", "images/tfds_set"},
    "matplotlib": {"viewing/plots"},
    "jinja2": {"viewing/report"},
    "imageio": {"frames/media"},
    "absl": {"pipeline/command", "pipeline/paths"},
    "ml_collections": {"pipeline/command/options"},
}


def imports(path):
    """Return the dotted names that a file imports."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def place(dotted):
    """Return where what is imported from jaxsurf stands: its number in each folder on the way."""
    folder, found = "", ()
    for part in dotted.split(".")[1:]:
        if part not in ROOMS.get(folder, ()):
            break
        found += (ROOMS[folder].index(part),)
        folder = f"{folder}/{part}".lstrip("/")
    if folder in ROOMS:  # the package itself
        found += (ROOMS[folder].index("__init__") if "__init__" in ROOMS[folder] else -1,)
    return found


MODULES = sorted(PACKAGE.rglob("*.py"))


def name(path):
    return path.relative_to(PACKAGE).with_suffix("").as_posix()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_stands_above(path):
    folder = path.relative_to(PACKAGE).parent.as_posix().removeprefix(".")
    assert folder in ROOMS, f"{folder} has no table of its own"
    assert path.stem in (*ROOMS[folder], "__init__"), f"{path} has no place in the table"
    mine = place(f"jaxsurf/{name(path)}".replace("/", "."))
    for dotted in imports(path):
        if dotted.split(".")[0] == "jaxsurf":
            assert place(dotted) < mine, f"{name(path)} imports {dotted}, which is not above it"


def test_every_module_in_the_table_exists():
    for folder, modules in ROOMS.items():
        for module in modules:
            path = PACKAGE / folder / module
            assert path.with_suffix(".py").exists() or path.is_dir(), f"{folder}/{module} is gone"


def test_every_folder_in_the_table_has_a_place_in_the_one_around_it():
    for folder in ROOMS:
        parent, _, package = folder.rpartition("/")
        assert not folder or package in ROOMS[parent], f"{folder} has no place"


@pytest.mark.parametrize("library", OWNERS)
def test_library_is_imported_by_its_owner_alone(library):
    users = {
        name(path)
        for path in MODULES
        if any(dotted.split(".")[0] == library for dotted in imports(path))
    }
    of_owners = {
        owner: {user for user in users if f"{user}/".startswith(f"{owner}/")}
        for owner in OWNERS[library]
    }
    assert set().union(*of_owners.values()) == users
    assert all(of_owners.values()), "an owner does not use it"


def test_what_programs_in_strings_import_exists():
    here = Path(__file__).parent
    paths = (*here.rglob("*.py"), *here.parent.glob("*.md"))
    texts = [path.read_text(encoding="utf-8") for path in paths]
    statement = r"from (jaxsurf[\w.]*) import (\w+)"
    found = {pair for text in texts for pair in re.findall(statement, text)}
    for module, imported in sorted(found):
        there = hasattr(importlib.import_module(module), imported)
        assert there or importlib.util.find_spec(f"{module}.{imported}"), f"{module}.{imported}"


def test_launch_scripts_and_configs_use_only_the_pipeline():
    root = PACKAGE.parent
    allowed = ("jaxsurf.pipeline", "jaxsurf.errors", "jaxsurf.images.factors")
    for path in [*root.glob("launch/*.py"), *root.glob("configs/*.py")]:
        for dotted in imports(path):
            assert not dotted.startswith("jaxsurf") or dotted.startswith(allowed), (path, dotted)


def test_importing_chooses_no_device():
    """Where several hosts work together, they must find each other before JAX finds its devices."""
    modules = [
        ".".join(filter(None, ("jaxsurf", *folder.split("/"), module)))
        for folder, names in ROOMS.items()
        for module in names
        if module != "__init__"
    ]
    code = f"import {', '.join(modules)}"
    # With a platform that there is not, the first thing that needs a device would fail.
    surroundings = os.environ | {"JAX_PLATFORMS": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
