"""The engines that search a graph for shortest paths, and which of them suits a question."""
