"""The live page of `rollback serve`, for people: where every feature stands, and the few buttons of an incident.

It needs a token like every caller (`signing_in`), shows what the world was a moment ago and never more (`lookout`,
`cards`), and acts by the very same code and role table as the interface for programs (`acting`).
"""
