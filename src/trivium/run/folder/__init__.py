"""All that the folder of a run is."""
