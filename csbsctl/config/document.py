"""The shape of ``csbs.yaml``: everything of ``Declared``, and what only the configuration has."""

from __future__ import annotations

import enum
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from csbsctl.model.base import Model, Name
from csbsctl.model.declared import Declared
from csbsctl.model.policy import Duration

VariableName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,254}$")]
Address = Annotated[str, StringConstraints(pattern=r"^(policy|binding|objective)\.[A-Za-z0-9_-]{1,255}$")]


class Encryption(Model):
    """Where the key of an encrypted vault comes from: exactly one source."""

    required: bool = True
    """Refuse a vault that is not encrypted."""
    passphrase_env: str | None = None
    """Name of the environment variable that holds the passphrase."""
    passphrase_file: str | None = None
    """File whose first line is the passphrase."""
    key_file: str | None = None
    """File with a key of 32 bytes."""
    key_command: str | None = None
    """Command that prints the passphrase, such as a secret manager's."""
    control: bool = False
    """Encrypt the control document and the catalogue too, not only data."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        sources = (self.passphrase_env, self.passphrase_file, self.key_file, self.key_command)
        if sum(source is not None for source in sources) != 1:
            raise ValueError("give exactly one of passphrase_env, passphrase_file, key_file and key_command")
        return self


class VaultSettings(Model):
    """Where backups and all state live; a plain text is the URL."""

    url: str
    """A folder such as ./vault, or s3://bucket/prefix."""
    endpoint_url: str | None = None
    """Where an S3-compatible store listens: https://s3.example.org"""
    region: str | None = None
    """Region of the bucket."""
    profile: str | None = None
    """Profile of the shared AWS credentials file."""
    path_style: bool | None = None
    """Name the bucket in the path rather than in the host name."""
    ca_bundle: str | None = None
    """File with the certificates to trust."""
    verify_tls: bool = True
    """Check the store's certificate."""
    coordination: str | None = None
    """Lock service for stores without atomic creation (etcd3+http://…), or single-writer."""
    listing_lag: Duration = timedelta(seconds=60)
    """How long listings of the bucket may miss what was just written; 0s for AWS, Ceph, MinIO. Space is freed later."""
    encryption: Encryption | None = None
    """How the vault is encrypted; not at all when absent."""

    @field_validator("url")
    @classmethod
    def _known_scheme(cls, url: str) -> str:
        scheme, separator, rest = url.partition("://")
        if not url or (separator and not rest):
            raise ValueError("say where the vault is: a folder such as ./vault, or s3://bucket/prefix")
        if separator and scheme not in {"s3", "file"}:
            msg = f"a vault is a folder such as ./vault or s3://bucket/prefix, not {scheme}://"
            raise ValueError(msg)
        return url

    @field_validator("coordination")
    @classmethod
    def _lock_service(cls, text: str | None) -> str | None:
        if text is not None and text != "single-writer" and "://" not in text:
            raise ValueError(
                "give the URL of a lock service such as etcd3+http://host:2379, or single-writer"
            )
        return text


def _url_alone(value: Any) -> Any:
    return {"url": value} if isinstance(value, str) else value


class ProviderEntry(Model):
    """A cloud: its type, and settings that the type knows."""

    model_config = ConfigDict(extra="allow")

    type: Annotated[str, Field(min_length=1, examples=["local", "openstack"])]
    """local, openstack, or a provider that a plug-in brings."""


class VariableType(enum.StrEnum):
    """What a variable holds."""

    STRING = "string"
    INTEGER = "integer"
    NUMBER = "number"
    BOOLEAN = "boolean"
    LIST = "list"
    MAP = "map"


class Variable(Model):
    """A value given from outside: --var, --var-file, CSBSCTL_VAR_name, else its default."""

    type: VariableType = VariableType.STRING
    """What it holds; values are checked."""
    default: Any = None
    """Used when nothing else gives a value; without one a value must be given."""
    description: str = ""
    """For people."""
    sensitive: bool = False
    """Never printed, logged or stored; may only be used in `vault` and `providers`."""


class Moved(Model):
    """A renaming, so that it does not read as delete and create."""

    from_address: Annotated[Address, Field(alias="from")]
    """The former address, such as policy.gold."""
    to_address: Annotated[Address, Field(alias="to")]
    """The new address, such as policy.platinum."""


class Settings(Model):
    """What the configuration says beside the declared resources."""

    version: Literal[1] = 1
    """Version of this format."""
    stack: Name = "default"
    """Who owns these resources in the vault."""
    vault: Annotated[VaultSettings, BeforeValidator(_url_alone)] = VaultSettings(url="./vault")
    """Where backups and all state live: a folder, s3://bucket/prefix, or a mapping with further settings."""
    include: tuple[str, ...] = ()
    """Further files, as globs relative to csbs.yaml; only csbs.yaml may include."""
    providers: dict[Name, ProviderEntry] = Field(default_factory=dict)
    """Clouds by name; bindings use `default` unless they say otherwise."""
    variables: dict[VariableName, Variable] = Field(default_factory=dict)
    """Values given from outside, used as {{ var.name }}."""
    moved: tuple[Moved, ...] = ()
    """Renamed resources."""


class Document(Settings, Declared):
    """A csbsctl configuration: csbs.yaml and the files it includes."""

    def declared(self) -> Declared:
        """Return the part that is planned and applied."""
        return Declared.model_construct(**{name: getattr(self, name) for name in Declared.model_fields})
