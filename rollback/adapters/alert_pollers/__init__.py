"""Pull: what is firing now, asked of the systems that watch (Datadog, AppDynamics, Alertmanager, Prometheus)."""
