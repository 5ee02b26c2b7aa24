"""Settings: what a program of ours reads from environment variables, once, at start."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

PREFIX = "PLANGATE_"

SettingsT = TypeVar("SettingsT", bound=BaseSettings)


class Fixed:
    """Marks a field that no variable sets: `Annotated[float, Fixed]`. Tests replace it."""


class _Variables(EnvSettingsSource):
    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        if Fixed in field.metadata:
            return None, field_name, False
        return super().get_field_value(field, field_name)


class PlangateSettings(BaseSettings):
    """Each field is the variable PLANGATE_ and its name in upper case, unless it is Fixed. An empty variable, as
    compose files make of an absent one, is an absent one."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="ignore",
        allow_inf_nan=False,
        protected_namespaces=(),
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What is given to the constructor comes before the environment."""
        return init_settings, _Variables(settings_cls)

    @classmethod
    def variables(cls) -> dict[str, FieldInfo]:
        """Variable -> field, of all that the environment sets."""
        prefix = str(cls.model_config["env_prefix"])
        return {
            f"{prefix}{name}".upper(): field for name, field in cls.model_fields.items() if Fixed not in field.metadata
        }


class SettingsRefused(Exception):
    """A variable has a value that cannot be used; the message names it and says why, on one line, without the value."""


def read_settings(kind: type[SettingsT], **given: Any) -> SettingsT:
    """Settings from the environment, but for those that are given. Raises SettingsRefused."""
    try:
        return kind(**given)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        fault = str(first["msg"]).removeprefix("Value error, ")
        name = "_".join(str(part) for part in first["loc"])
        raise SettingsRefused(
            f"{kind.model_config['env_prefix']}{name}".upper() + f": {fault}" if name else fault
        ) from None
