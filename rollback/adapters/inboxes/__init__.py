"""Inboxes: where authentic deliveries wait, durably, until they are settled."""
