"""Running what is missing: one run at a time, on a runner, before a display."""
