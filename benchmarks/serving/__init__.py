"""Servers side by side: the peers', ours, and the client that asks them."""
