"""In-memory data sets, one file per source."""
