"""DataFrames in, matplotlib figures out: nothing is read, nothing written."""
