"""Tensors to tensors: the encoder and its heads; knows nothing of what tasks mean."""
