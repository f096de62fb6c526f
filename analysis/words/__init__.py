"""Sentences: views of what may be said."""
