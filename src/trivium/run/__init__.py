"""The verbs, a file for each public function, and the rooms that they are built from."""
