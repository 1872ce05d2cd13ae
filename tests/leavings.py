"""What a training run has left in its folder, for tests that compare runs; a disk that is full."""

import contextlib
import json
import resource

import jax
from flax import nnx

from jaxsurf.pipeline.run import open_run
from jaxsurf.pipeline.setup import make_setup
from jaxsurf.training.checkpoint import Checkpoints


def lines(root):
    """Return metrics.jsonl without its wall-clock figures."""
    text = (root / "metrics.jsonl").read_text()
    assert text.endswith("\n") or not text
    return [
        {name: value for name, value in json.loads(line).items() if not name.endswith("_s")}
        for line in text.splitlines()
    ]


def state(root):
    """Return everything that the last checkpoint holds of the model and its optimizer."""
    run = open_run(root)
    parts = make_setup(run.config, run.images)
    with contextlib.closing(Checkpoints(root / "checkpoints", of=parts.identity)) as checkpoints:
        return jax.device_get(jax.tree.leaves(checkpoints.restore(parts.state)[0]))


def weights(root):
    """Return the trained model's."""
    return jax.tree.leaves(nnx.state(open_run(root).model))


@contextlib.contextmanager
def full_disk(most):
    """Let no file grow beyond so many bytes, as on a full disk, but for this process alone."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def newest(root):
    """Return the step of the newest checkpoint; 0 where there is none yet."""
    names = (path.name for path in root.glob("checkpoints/*"))
    return max((int(name) for name in names if name.isdigit()), default=0)
