"""Which tokens of pipelines were used: each opens the door once."""
