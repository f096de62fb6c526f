"""What is done to inputs, losses, gradients and normalization while a network trains."""
