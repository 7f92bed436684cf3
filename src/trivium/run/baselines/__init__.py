"""What a task can have without training: the usual answer, and a linear probe."""
