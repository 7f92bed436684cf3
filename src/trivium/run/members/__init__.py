"""Runs that become an ensemble."""
