"""The OpenStack provider: whole-server backups with Cinder, Nova and Glance through their public APIs."""
