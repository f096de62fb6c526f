"""The measures that a study may ask for: one module each, with its settings, rules and cost."""
