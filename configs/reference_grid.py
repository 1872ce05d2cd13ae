"""The report's grid search: 162 runs of its model, on the arm.

    python launch/sweep.py --config=configs/reference_grid.py --workdir=runs/reference_grid

Batch size, weights of the two losses, width, noise: every combination, 300 epochs each with the
learning rate falling tenfold every 75. A weight of 4 on [0, 1] is the report's weight of 1 on
[-1, 1]. For accelerators: on two cores it would take weeks. Source: Yadlin & Botchan, "Data
Interpolation in Latent Space", and its authors' score table.
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config() -> ConfigDict:
    """Return the grid."""
    return cli.make_config(experiments.GRID_BASE, axes=experiments.GRID_AXES)
