"""csbsctl: whole-server backups as code, for OpenStack and a local simulated cloud."""

__version__ = "0.1.0"
