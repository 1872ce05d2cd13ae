"""The road is straight: a room imports only from rooms above it, a module from modules above it."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "jaxsurf"

ROOMS = {
    "": ["errors", "mapped", "writing", "workdir", "lock", "stopping"],
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
    "models": ["interface", "vgg", "products", "reference", "narrowing", "smooth", "autoencoder"],
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
        "step",
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
    "frames": ["decode", "lengths", "animate", "media"],
    "evaluation": ["sampling", "metrics", "appearance", "reconstruction", "pairs"],
    "viewing": [
        "markup",
        "canvas",
        "latent_axes",
        "figures",
        "routes",
        "clusters",
        "placing",
        "grids",
        "report",
    ],
    "pipeline": [
        "heap",
        "compiler",
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
        "grid",
        "outcome",
        "together",
        "scores",
        "sweep",
        "ends",
        "way_plot",
        "surf",
        "evaluate",
        "report",
        "quickstart",
        "comparison",
        "compare",
        "reproduce",
        "complaints",
        "options",
        "way_options",
        "paths",
        "benchmark",
        "command",
    ],
}
# Third-party libraries that may change under us have one owner; benchmarks call them as peers.
OWNERS = {
    "igraph": {"manifold/shortest_paths", "pipeline/benchmark"},
    "faiss": {"manifold/approximate", "pipeline/benchmark"},
    "numba": {"manifold/compilation"},
    "orbax": {"training/checkpoint"},
    "optax": {"training/optimizer"},
    "h5py": {"models/vgg"},
    "safetensors": {"models/vgg"},
    "tensorboardX": {"training/journal"},
    "torch": {"pipeline/benchmark"},
    "tensorflow_datasets": {"images/mpi3d", "images/prepared", "images/tfds_set"},
    "matplotlib": {
        f"viewing/{module}"
        for module in ("canvas", "latent_axes", "figures", "routes", "clusters", "grids")
    },
    "imageio": {"frames/media"},
    "absl": {"pipeline/command", "pipeline/options", "pipeline/way_options", "pipeline/paths"},
    "ml_collections": {"pipeline/options"},
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
    """Return room and module number of what is imported from jaxsurf, as far as it names them."""
    parts = dotted.split(".")[1:]
    room = parts[0] if parts[0] in ROOMS else ""
    rest = parts[1:] if room else parts
    module = ROOMS[room].index(rest[0]) if rest and rest[0] in ROOMS[room] else -1
    return list(ROOMS).index(room), module


MODULES = sorted(PACKAGE.rglob("*.py"))


def own_place(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return place(".".join(["jaxsurf", *parts]))


def name(path):
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return "/".join(parts[:2])


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_only_what_stands_above(path):
    mine = own_place(path)
    assert mine[1] >= 0 or path.stem == "__init__", f"{path} has no place in the table"
    for dotted in imports(path):
        if dotted.startswith("jaxsurf"):
            theirs = place(dotted)
            same_package = theirs == mine  # modules of one nested package
            assert theirs < mine or same_package, f"{name(path)} imports {dotted}, below it"


def test_every_module_in_the_table_exists():
    for room, modules in ROOMS.items():
        for module in modules:
            path = PACKAGE / room / module
            assert path.with_suffix(".py").exists() or path.is_dir(), f"{room}/{module} is gone"


@pytest.mark.parametrize("library", OWNERS)
def test_library_is_imported_by_its_owner_alone(library):
    users = {
        name(path)
        for path in MODULES
        if any(dotted.split(".")[0] == library for dotted in imports(path))
    }
    assert users == OWNERS[library]


def test_launch_scripts_and_configs_use_only_the_pipeline():
    root = PACKAGE.parent
    allowed = ("jaxsurf.pipeline", "jaxsurf.errors", "jaxsurf.images.factors")
    for path in [*root.glob("launch/*.py"), *root.glob("configs/*.py")]:
        for dotted in imports(path):
            assert not dotted.startswith("jaxsurf") or dotted.startswith(allowed), (path, dotted)


def test_importing_chooses_no_device():
    """Where several hosts work together, they must find each other before JAX finds its devices."""
    modules = [
        ".".join(filter(None, ("jaxsurf", folder, module)))
        for folder, names in ROOMS.items()
        for module in names
    ]
    code = f"import {', '.join(modules)}"
    # With a platform that there is not, the first thing that needs a device would fail.
    surroundings = os.environ | {"JAX_PLATFORMS": "nowhere"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=surroundings, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
