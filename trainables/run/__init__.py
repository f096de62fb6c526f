"""One trial from its config to its rows, and the workers that share it."""
