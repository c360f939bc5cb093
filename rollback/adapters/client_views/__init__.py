"""What clients see: the engine inside SDKs, the server's own evaluation, a stream, the application itself."""
