"""Every setting of a study, checked: grid times arms, less what is left out."""
