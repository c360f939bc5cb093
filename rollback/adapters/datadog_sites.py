"""Where Datadog's API is: its keys are sent to a known site or to this machine, nowhere else."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlsplit

from rollback.adapters.careful_answers import is_loopback
from rollback.errors import ConfigurationError

SITES: Mapping[str, str] = MappingProxyType(
    {
        "ddog-gov.com": "https://app.ddog-gov.com",
        "us2.ddog-gov.com": "https://us2.ddog-gov.com",
        "datadoghq.com": "https://app.datadoghq.com",
        "us3.datadoghq.com": "https://us3.datadoghq.com",
        "us5.datadoghq.com": "https://us5.datadoghq.com",
        "datadoghq.eu": "https://app.datadoghq.eu",
        "ap1.datadoghq.com": "https://ap1.datadoghq.com",
        "ap2.datadoghq.com": "https://ap2.datadoghq.com",
        "uk1.datadoghq.com": "https://uk1.datadoghq.com",
    }
)
"""Each site (`DD_SITE`; its API is at `https://api.<site>`) and its pages for people. US1-FED comes first.
Source: the table of sites on docs.datadoghq.com/api/latest/monitors/get-all-monitors."""


def addresses(site: str) -> tuple[str, str]:
    """The addresses of the API and of the pages. Raises `ConfigurationError` for a site that is not known."""
    named = site.strip().rstrip("/").removeprefix("https://api.")
    if named in SITES:
        return f"https://api.{named}", SITES[named]
    if "://" in site and is_loopback(urlsplit(site).hostname or ""):
        return site, site.rstrip("/")
    raise ConfigurationError(
        f"{site[:60]!r} is not a site of Datadog; known: {', '.join(SITES)}.",
        next="Give the site as in DD_SITE, or the address of its API, e.g. https://api.ddog-gov.com.",
    )
