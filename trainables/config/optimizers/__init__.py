"""The optimizers that a study may name: one module each, with its constants, rules and cost."""
