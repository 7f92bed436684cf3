"""A model's card: README.md in its folder, which says what it is to people and to the hub."""
