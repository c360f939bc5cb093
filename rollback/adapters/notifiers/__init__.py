"""Notice channels: ways to people (Slack, Teams, a webhook, the log), and where notices wait durably."""
