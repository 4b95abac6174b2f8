"""One file a parameter family, and an index."""
