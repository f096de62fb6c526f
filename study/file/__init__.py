"""What a person wrote: a study file, from text to checked sections."""
