"""The results folder: the only code that knows where a file lies. Loads neither torch nor ray."""
