"""The papers' numbers, as CSV with their source."""
