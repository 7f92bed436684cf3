"""From a recipe's rows and model to a trained one."""
