"""The report's grid search: 162 runs of its model, on the arm.

    python launch/sweep.py --config=configs/reference_grid.py --workdir=runs/reference_grid

Batch size, weights of the two losses, width, noise: every combination, 300 epochs each with the
learning rate falling tenfold every 75. For accelerators: on two cores it would take weeks. Weights
and source are explained in `configs/reference.py`.
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config() -> ConfigDict:
    return cli.make_config(experiments.GRID_BASE, axes=experiments.GRID_AXES)
