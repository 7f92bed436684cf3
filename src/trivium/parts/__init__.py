"""All that a recipe can choose: one module per family, one table each."""
