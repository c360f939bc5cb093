"""The automatic trigger: from what the inbox keeps to what is done about it, each decision in the record."""
