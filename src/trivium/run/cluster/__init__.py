"""Runs at the same time, here or on the machines of a Ray cluster: what each asks, what became."""
