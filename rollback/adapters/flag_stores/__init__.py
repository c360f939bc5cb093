"""Flag stores: the systems that a flag is written to."""
