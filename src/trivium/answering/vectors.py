"""Vectors of texts, as people compare them."""

import numpy as np

from trivium.answering.says import Floats


def unit(vector_BD: Floats) -> Floats:
    """Each vector at length 1, so that a product of two is their cosine; one of zeros stays so."""
    length_B1 = np.linalg.norm(vector_BD.astype(np.float64), axis=-1, keepdims=True)
    unit_BD: Floats = (vector_BD / np.where(length_B1 == 0, 1.0, length_B1)).astype(np.float32)
    return unit_BD
