"""A recipe's model, where it computes, and PEFT."""
