"""What one trial does, from its config to its rows."""
