"""Measured quantities, one file each."""
