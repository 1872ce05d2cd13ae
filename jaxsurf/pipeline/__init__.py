"""The whole roads, from typed configs to files."""
