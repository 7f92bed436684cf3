"""`trivium serve`: a model behind HTTP."""
