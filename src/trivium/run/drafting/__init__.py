"""A first recipe for tables that nobody has described."""
