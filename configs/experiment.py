"""Every experiment of the report by name, with its model or with ours.

    python launch/train.py --config=configs/experiment.py:combined_70_30 --workdir=runs/combined
    python launch/train.py --config=configs/experiment.py:combined_70_30,smooth --workdir=runs/ours

Names: `mse_2d`, `perceptual_2d`, `combined_70_30`, `combined_30_70`, `combined_99_1` (ours),
`mse_3d`, `camera_height`, `background_color`, and `noise_normal_0.1` (0.2, 0.5),
`noise_white_0.1` (0.2, 0.5). On the arm; on MPI3D with `--config.data.source=mpi3d_toy
--config.data.path=mpi3d_toy.npz`.
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import cli, experiments


def get_config(variant: str = "mse_2d") -> ConfigDict:
    name, _, model = variant.partition(",")
    return cli.make_config(experiments.settings(name, model or "reference"))
