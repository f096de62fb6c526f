"""What settings come to: batches, rates, constants, steps. Pure; loads neither torch nor ray."""
