"""Which trials there are, whom they are compared with, and what they cost."""
