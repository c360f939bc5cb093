"""How fast off is, as ratios to the alternative, both measured in one run. `make bench`."""
