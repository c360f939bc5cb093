"""How often the gate errs, simulated beside models of other tools' rules. `make evidence` writes docs/evidence.md."""
