"""What tasks gain from one another's steps, and which of them belong on one encoder."""
