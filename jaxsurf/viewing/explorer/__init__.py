"""What draws and serves the explorer; `pipeline.explore` gives it a run, or codes alone."""
