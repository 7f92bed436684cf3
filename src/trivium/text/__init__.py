"""Strings to tensors: tables, tokeniser, packed batches, streams of batches."""
