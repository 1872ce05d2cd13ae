"""MPI3D as a TensorFlow Datasets builder that needs no TensorFlow."""
