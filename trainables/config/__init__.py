"""What one trial is: the frozen dataclasses that are the one definition of every field.

The study file is validated against them, the Parquet columns are derived from them, and axis labels
repeat their names. Nothing here loads torch or ray.
"""
