"""The clouds of points that the graph suite goes through."""

from jaxsurf.pipeline.benchmark.inputs import Cloud

SMALL = (Cloud("cube", 1600, 2), Cloud("cube", 1600, 3))
MIDDLE = (Cloud("cube", 100_000, 2), Cloud("cube", 100_000, 3))
# As many as MPI3D has images.
LARGE = (Cloud("cube", 1_036_800, 2), Cloud("cube", 1_036_800, 3))
# Latent codes of other people's models.
WIDE = (Cloud("cube", 50_000, 16), Cloud("cube", 50_000, 64))
ALL = (*SMALL, *MIDDLE, *LARGE, *WIDE)
# Where the straight line misleads: the way around is much longer.
ROLL, LARGE_ROLL = Cloud("roll", 100_000, 3), Cloud("roll", 1_036_800, 3)


def rounds(cloud: Cloud) -> int:
    """Return how often peers are worth the time that they take over a cloud."""
    return 1 if cloud.number > 500_000 else 3
