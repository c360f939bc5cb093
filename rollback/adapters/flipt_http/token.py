"""Where the Flipt token comes from. It is a secret: no message, no `repr` shows it. Kill path: standard library."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rollback.errors import ConfigurationError

COMMAND_SECONDS = 10.0
"""How long a token command may take, unless the deadline is nearer."""

SCHEMES = ("bearer ", "jwt ")


class TokenSource:
    """A token that is read when it is first needed, and again when the server refuses it.

    Made by `none`, `value`, `file` or `command`. What is read may begin with `Bearer ` or `JWT `; without
    either it is a client token, sent as `Bearer`.
    """

    def __init__(self, read: Callable[[float], str] | None, origin: str) -> None:
        self._read = read
        self._origin = origin
        self._authorization: str | None = None

    def __repr__(self) -> str:
        return f"TokenSource({self._origin})"

    @classmethod
    def none(cls) -> TokenSource:
        """No token: the server asks for none."""
        return cls(None, "none")

    @classmethod
    def value(cls, token: str) -> TokenSource:
        """The token itself."""
        return cls(lambda _: token, "the token given")

    @classmethod
    def file(cls, path: Path) -> TokenSource:
        """The content of a file, read anew after a refusal (mounted secrets rotate)."""
        origin = f"the token file {path}"

        def read(_: float) -> str:
            try:
                return path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError) as error:
                reason = getattr(error, "strerror", None) or type(error).__name__
                raise ConfigurationError(
                    f"{origin} cannot be read: {reason}.", next="Check ROLLBACK_FLIPT_TOKEN_FILE."
                ) from error

        return cls(read, origin)

    @classmethod
    def command(cls, line: str, *, seconds: float = COMMAND_SECONDS) -> TokenSource:
        """What a command prints. It is split like a shell would, but no shell runs; it may take `seconds`."""
        origin = "the token command"
        return cls(lambda left: _run(line, min(seconds, left), origin), origin)

    @property
    def is_given(self) -> bool:
        """False for `none`."""
        return self._read is not None

    def authorization(self, *, seconds: float, again: bool = False) -> str | None:
        """The `Authorization` header, None without a token; `again` reads the source anew.

        A command may take at most `seconds`. Raises `ConfigurationError` when there is nothing usable.
        """
        if self._read is None:
            return None
        if self._authorization is None or again:
            self._authorization = self._checked(self._read(seconds))
        return self._authorization

    def scrubbed(self, text: str) -> str:
        """`text` without the token, should somebody have echoed it."""
        if self._authorization is None:
            return text
        secret = self._authorization.partition(" ")[2]
        return text.replace(secret, "[token]") if len(secret) > 3 else text

    def _checked(self, raw: str) -> str:
        token = raw.strip()
        if not token:
            raise ConfigurationError(f"{self._origin} is empty.", next="Give a token, or none at all.")
        if not token.isascii() or not token.isprintable():
            # Such a header would be refused by the HTTP library, with the token in its message.
            raise ConfigurationError(f"{self._origin} holds characters that no token has (several lines?).")
        return token if token.lower().startswith(SCHEMES) else f"Bearer {token}"


def _run(line: str, seconds: float, origin: str) -> str:
    import shlex
    import subprocess

    advice = "Check ROLLBACK_FLIPT_TOKEN_COMMAND."
    try:
        arguments = shlex.split(line)
        done = subprocess.run(  # no shell
            arguments, stdin=subprocess.DEVNULL, capture_output=True, timeout=max(seconds, 0.01), check=False
        )
    except subprocess.TimeoutExpired:
        # `from None`: the exception holds what the command printed so far.
        raise ConfigurationError(f"{origin} did not end within {seconds:.1f} s.", next=advice) from None
    except (OSError, ValueError, IndexError) as error:
        raise ConfigurationError(f"{origin} cannot be run: {type(error).__name__}.", next=advice) from error
    if done.returncode != 0:
        raise ConfigurationError(f"{origin} failed with exit code {done.returncode}.", next=advice)
    return done.stdout.decode("utf-8", errors="replace")
