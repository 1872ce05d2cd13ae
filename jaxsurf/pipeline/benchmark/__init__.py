"""Benchmarks: stages of the pipeline, each beside what one could use instead."""
