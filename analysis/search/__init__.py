"""What a search found, and what its finals allow: winners, neighbours, resolution."""
