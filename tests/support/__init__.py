"""What several test files use: stand-ins, samples, and helpers."""
