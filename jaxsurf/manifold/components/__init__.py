"""The pieces that a graph falls into, and what joins them: tree, bridges, smallest k."""
