"""Tables to examples to batches."""
