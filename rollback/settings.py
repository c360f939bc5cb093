"""The settings, documented: what each means, its unit, its default, and what None means.

They come from the environment (`ROLLBACK_…`; a `.env` file fills what it lacks), nothing else.
`rollback.kill_settings` reads the same without pydantic, for the path that turns off. Both share the rules for
a value (`read_value`, `conflicts`) and the reading of `.env`, so that no command can ask another flag store
than `disable` does.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import SecretStr, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from rollback.environment import lookup, read_dotenv
from rollback.errors import ConfigurationError
from rollback.kill_settings import NAMES, NEXT, PREFIX, conflicts, read_value, server_conflicts, split_urls

_ORIGIN: ContextVar[tuple[Mapping[str, str], str]] = ContextVar("_ORIGIN", default=(os.environ, ".env"))
"""Where `Settings()` reads: an environment and the path of a `.env` file."""


class _Variables(PydanticBaseSettingsSource):
    """The variables by their exact names. pydantic-settings' own sources would also take other spellings."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        return self._values().get(PREFIX + field_name.upper()), field_name, False

    def _values(self) -> Mapping[str, str]:
        environ, dotenv_path = _ORIGIN.get()
        return lookup(environ, read_dotenv(dotenv_path, environ))

    def __call__(self) -> dict[str, Any]:
        values = self._values()
        variables = {name: PREFIX + name.upper() for name in NAMES}
        return {name: values[variable] for name, variable in variables.items() if variable in values}


class Settings(BaseSettings):
    """All settings, frozen. Secrets are `SecretStr` and never show; `load_settings` is the way to get one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    policies: str = "policies"
    """Folder with the policies (`critical.yaml`, …, `features/`)."""

    flipt_url: str = "file:features.yml"
    """The flag store. `https://…`, several separated by commas being replicas of one; or `file:` and the path
    of a declarative file, or of a folder with `<namespace>/features.yaml`, which may be followed by the
    addresses of servers that serve it. The default is for features that are not marked `production`."""

    flipt_token: SecretStr | None = None
    """The flag store's token. None: no token, or one of the next two. At most one of the three is given."""

    flipt_token_file: str | None = None
    """Path of a file that holds the token; it is read again when the store refuses the token. None: no file."""

    flipt_token_command: SecretStr | None = None
    """Command that prints the token; it is run again when the store refuses the token. None: no command."""

    flipt_api: Literal["auto", "v1", "v2"] = "auto"
    """Which of Flipt's interfaces to speak; `auto` asks the server."""

    flipt_ca: str | None = None
    """Path of a PEM file with the authorities that may vouch for the store. None: the system's."""

    flipt_cert: str | None = None
    """Path of a PEM file with our client certificate, and its key when `flipt_key` is None. None: none."""

    flipt_key: str | None = None
    """Path of a PEM file with the certificate's key. None: it is in `flipt_cert`, or there is none."""

    flipt_timeout: float = 5.0
    """How long one request to the flag store may take: seconds, above 0, up to 600."""

    ledger: str = "sqlite:///rollback.db"
    """The history's database, as an address."""

    journal: str = "rollback.journal"
    """Path of the write-ahead journal; it may be on another disk than the ledger."""

    actor: str | None = None
    """Who acts when `--actor` is not given; recorded as claimed. None: the account this process runs under."""

    auto: bool = True
    """`on` or `off`: whether automation may act at all. People always may."""

    server: str | None = None
    """The server (`rollback serve`) that the commands go to: `https://…`, or `http://` on this very machine. None: the
    commands act from here. Authorities of your own: the variable SSL_CERT_FILE."""

    token: SecretStr | None = None
    """Our token at that server (`rollback token issue`). None: one of the next two. At most one of the three is given.
    """

    token_file: str | None = None
    """Path of a file that holds that token. None: no file."""

    token_command: SecretStr | None = None
    """Command that prints that token. None: no command."""

    state: str = "rollback.state.db"
    """Path of the server's own database: deliveries, tokens, what was answered."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Values given in code, then the variables; nothing else."""
        return init_settings, _Variables(settings_cls)

    @field_validator("*", mode="before")
    @classmethod
    def _read(cls, value: Any, info: ValidationInfo) -> Any:
        assert info.field_name is not None
        return read_value(info.field_name, value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _agree(self) -> Settings:
        values = {name: getattr(self, name) for name in NAMES}
        wrong = conflicts(values) + server_conflicts(values)
        if wrong:
            raise ValueError("; ".join(wrong))
        return self

    def __repr_args__(self) -> Any:
        """Everything but what may hold a password."""
        return [(name, value) for name, value in super().__repr_args__() if name != "ledger"]

    @property
    def flag_urls(self) -> tuple[str, ...]:
        """The addresses in `flipt_url`, in order, each once: a `file:` can only be the first."""
        return split_urls(self.flipt_url)


@dataclass(frozen=True, slots=True)
class UnknownSetting:
    """A variable that looks like a setting and is none; `nearest` is the known name it may have meant."""

    name: str
    nearest: str | None


def load_settings(environ: Mapping[str, str] | None = None, dotenv_path: str = ".env") -> Settings:
    """The settings from `environ` (None: this process's) and the `.env` file that fills what it lacks.

    Raises `ConfigurationError` with one sentence that names every setting that is wrong.
    """
    before = _ORIGIN.set((os.environ if environ is None else environ, dotenv_path))
    try:
        return Settings()
    except ValidationError as error:
        causes = (item.get("ctx", {}).get("error", item["msg"]) for item in error.errors(include_url=False))
        raise ConfigurationError("; ".join(str(cause) for cause in causes), next=NEXT) from None
    finally:
        _ORIGIN.reset(before)


def unknown_settings(environ: Mapping[str, str]) -> tuple[UnknownSetting, ...]:
    """The variables `ROLLBACK_…` that are no settings, sorted, each with the known name that is most like it.

    A wrong name is silently without effect otherwise. Give it what `rollback.environment.lookup` returns to
    cover the `.env` file as well.
    """
    known = {name.upper(): PREFIX + name.upper() for name in NAMES}
    found = []
    for name in sorted(environ):
        rest = name.upper().removeprefix(PREFIX)
        if rest != name.upper() and name not in known.values():
            nearest = difflib.get_close_matches(rest, known, n=1)
            found.append(UnknownSetting(name, known[nearest[0]] if nearest else None))
    return tuple(found)
