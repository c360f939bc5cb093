"""Health probes: a feature's own endpoints over HTTP, and a scripted stand-in."""
