"""Work on the machines of a Ray cluster: which one, what each run asks of it, and what became."""
