"""Every experiment of the report in one command: trained, animated, measured, judged."""
