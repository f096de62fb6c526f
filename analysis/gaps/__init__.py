"""What is compared: cells and their seeds, pairs between batch sizes, what was measured of them."""
