"""Programs on top of the verbs; none of them imports another."""
