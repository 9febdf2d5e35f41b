"""Training: rows drawn and gathered on the device, one loop, early stopping, checkpoints."""
