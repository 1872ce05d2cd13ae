"""The whole pipelines, from typed configs to files."""
