"""One run: from its configuration to a model, and back from its working directory."""
