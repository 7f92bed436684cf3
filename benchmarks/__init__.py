"""Measurements against transformers and sentence-transformers; see the README in this folder."""
