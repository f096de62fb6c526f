"""Tables, figures and sentences as one self-contained page."""
