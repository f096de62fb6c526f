"""Networks, one file per paper or family."""
