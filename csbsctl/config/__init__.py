"""Configuration as code: ``csbs.yaml``, its includes, variables and expressions, with a place for every problem.

Knows YAML, Jinja2 and the model; must not know the vault, clouds or what is done with what was declared.
"""

from __future__ import annotations

from csbsctl.config.configuration import Configuration, ProviderSettings
from csbsctl.config.document import Encryption, Moved, VaultSettings
from csbsctl.config.loading import load

__all__ = ["Configuration", "Encryption", "Moved", "ProviderSettings", "VaultSettings", "load"]
