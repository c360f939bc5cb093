"""httpx, imported without its command line.

`httpx/__init__` imports its own command line (click, rich, pygments) when these are installed, which about doubles
the time of the import; without them it falls back to a stub. So that module alone is made unimportable while
httpx loads. Everything that is on the kill path takes httpx from here. Kill path: standard library and httpx.
"""

from __future__ import annotations

import sys

if "httpx" in sys.modules:
    import httpx
else:
    sys.modules["httpx._main"] = None  # type: ignore[assignment]
    try:
        import httpx
    finally:
        sys.modules.pop("httpx._main", None)

__all__ = ["httpx"]
