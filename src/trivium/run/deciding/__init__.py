"""How a trained task's answers are decided upon: temperature, thresholds, costs, and when not to
answer; found on rows with labels, and judged on others."""
