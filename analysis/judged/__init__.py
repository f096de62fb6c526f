"""What may be said, as tables: gaps, arms, correlations, published claims, each with its reason."""
