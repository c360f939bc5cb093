"""TLS towards Flipt. Verification cannot be switched off. Kill path: standard library, and certifi for https."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from rollback.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Tls:
    """`ca`: a file with the authorities to trust instead of the system's. `cert` and `key`: our own (mutual TLS).

    `key` may be None when the `cert` file holds it as well.
    """

    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A context that verifies. Raises `ConfigurationError` when a file cannot be used."""
        if self.key is not None and self.cert is None:
            raise ConfigurationError("A TLS key without a certificate.", next="Set ROLLBACK_FLIPT_CERT as well.")
        context = self._trusting()
        if self.cert is not None:
            try:
                # A password would be asked for at the terminal; an empty one fails instead.
                context.load_cert_chain(self.cert, self.key, password="")
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise ConfigurationError(
                    f"The TLS certificate {self.cert} cannot be used: {_reason(error)}.",
                    next="Check ROLLBACK_FLIPT_CERT and ROLLBACK_FLIPT_KEY.",
                ) from error
        return context

    def _trusting(self) -> ssl.SSLContext:
        if self.ca is not None:
            try:
                return ssl.create_default_context(cafile=self.ca)
            except (OSError, ValueError) as error:
                raise ConfigurationError(
                    f"The TLS authorities {self.ca} cannot be used: {_reason(error)}.", next="Check ROLLBACK_FLIPT_CA."
                ) from error
        context = ssl.create_default_context()
        if not context.cert_store_stats()["x509_ca"] and ssl.get_default_verify_paths().capath is None:
            import certifi  # some builds of Python see no store of the system

            context.load_verify_locations(certifi.where())
        return context


def no_tls() -> ssl.SSLContext:
    """For addresses without TLS: trusts nobody, and costs no loading of authorities."""
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _reason(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
