"""Teachers that a recipe names, and what they said."""
