"""The report's grid search: 162 runs of its model, on the arm.

    python launch/sweep.py --config=configs/reference_grid.py --workdir=runs/reference_grid

Batch size, weights of the two losses, width, noise: every combination, 300 epochs each with the
learning rate falling tenfold every 75. A weight of 4 on [0, 1] is the report's weight of 1 on
[-1, 1]. For accelerators: on two cores it would take weeks. Source: Yadlin & Botchan, "Data
Interpolation in Latent Space", and its authors' score table.
"""

from ml_collections import ConfigDict

from jaxsurf.pipeline import options


def get_config() -> ConfigDict:
    """Return the grid."""
    return options.make_grid(
        {
            "model.name": "reference",
            "optimizer.name": "reference",
            "optimizer.learning_rate": 1e-2,
            "optimizer.weight_decay": 1e-5,
            "optimizer.step_epochs": 75,
            "training.num_epochs": 300,
            "training.seed": 42,
            "graph.weight": "latent",
        },
        axes={
            "training.batch_size": (4, 8, 16),
            "objective.mse,objective.perceptual": ((4.0, 0.0), (2.8, 0.3), (0.0, 1.0)),
            "model.channels": (64, 128, 256),
            "corruption.strength": (0.1, 0.2, 0.5),
            "corruption.kind": ("normal", "white"),
        },
    )
