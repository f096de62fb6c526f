"""Which trials there are, and running them."""
