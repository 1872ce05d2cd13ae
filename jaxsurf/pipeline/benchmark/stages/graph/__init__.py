"""From points to paths, and what is measured of them: each stage beside libraries for it."""

MODULES = ("nearest", "building", "one_pair", "many_pairs", "interpolation", "pipeline")
