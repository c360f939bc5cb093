"""The server: alerts come in, programs ask and act, machines look at its health. Thin: what is done lies elsewhere."""
