"""A world in memory: flag store, replicas, clock, probes and sessions, for tests of the shell."""
