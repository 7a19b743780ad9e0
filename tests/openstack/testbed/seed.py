"""Fill the test bed: ``seed.py identity`` (users, projects, endpoints), ``services`` (types, flavours), ``guest IMAGE``.

``services`` also waits until all services are up. Everything may be run again.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import openstack
from openstack import exceptions

ADDRESS, PASSWORD = "127.0.0.1", "testbed"
ENDPOINTS = {
    "glance": ("image", "9292"),
    "placement": ("placement", "8778"),
    "neutron": ("network", "9696"),
    "nova": ("compute", "8774/v2.1"),
    "cinder": ("block-storage", "8776/v3"),
}
PROJECTS = ("demo", "other", "third", "fourth")
"""Each has a member of its own name and a reader: runs of the tests side by side need one each."""
LUKS = {"provider": "luks", "cipher": "aes-xts-plain64", "key_size": 256, "control_location": "front-end"}
GROUP_TYPES = {"generic": {}, "consistent": {"consistent_group_snapshot_enabled": "<is> True"}}


def identity(cloud: Any) -> None:
    """Make projects, users with their roles, and the catalogue."""
    keystone = cloud.identity
    projects = {project.name: project for project in keystone.projects()}
    for name in {"service", *PROJECTS} - set(projects):
        projects[name] = keystone.create_project(name=name, domain_id="default")
    if not keystone.find_role("service"):
        keystone.create_role(name="service")
    roles = {role.name: role for role in keystone.roles()}
    people = {**dict.fromkeys(ENDPOINTS, ("service", ["admin", "service"]))}
    people |= {name: (name, ["member"]) for name in PROJECTS}
    people |= {f"{name}-reader": (name, ["reader"]) for name in PROJECTS}
    for name, (project, wanted) in people.items():
        user = keystone.find_user(name) or keystone.create_user(
            name=name, password=PASSWORD, domain_id="default", default_project_id=projects[project].id
        )
        for role in wanted:
            keystone.assign_project_role_to_user(projects[project], user, roles[role])
    known = {service.name for service in keystone.services()}
    for name in [name for name in ENDPOINTS if name not in known]:
        kind, rest = ENDPOINTS[name]
        service = keystone.create_service(name=name, type=kind)
        for interface in ("public", "internal"):
            keystone.create_endpoint(
                service_id=service.id,
                interface=interface,
                url=f"http://{ADDRESS}:{rest}",
                region_id="RegionOne",
            )


def services(cloud: Any) -> None:
    """Wait for all services; make flavours, volume types and group types; lift the quotas; make networks."""
    await_services(cloud)
    cinder = cloud.block_storage
    flavors = {flavor.name for flavor in cloud.compute.flavors()}
    for name, ram, disk in (("t1", 64, 0), ("t2", 128, 0), ("i1", 64, 1), ("g1", 256, 0), ("g2", 256, 1)):
        if name not in flavors:
            cloud.compute.create_flavor(name=name, ram=ram, vcpus=1, disk=disk)
    kinds = {kind.name for kind in cinder.types()}
    for name, specs in (("ceph", {}), ("ceph-multi", {"multiattach": "<is> True"}), ("ceph-luks", {})):
        if name not in kinds:
            made = cinder.create_type(name=name, extra_specs={"volume_backend_name": "ceph", **specs})
            if name == "ceph-luks":
                call(cinder, "post", f"/types/{made.id}/encryption", {"encryption": LUKS})
    groups = call(cinder, "get", "/group_types")["group_types"]
    for name in set(GROUP_TYPES) - {group["name"] for group in groups}:
        made = call(cinder, "post", "/group_types", {"group_type": {"name": name}})["group_type"]
        if GROUP_TYPES[name]:
            call(cinder, "post", f"/group_types/{made['id']}/group_specs", {"group_specs": GROUP_TYPES[name]})
    # Cinder's limits (ten volumes, ten backups ...) stand in its database, not in its configuration.
    names = ("volumes", "snapshots", "gigabytes", "backups", "backup_gigabytes", "groups")
    call(cinder, "put", "/os-quota-class-sets/default", {"quota_class_set": dict.fromkeys(names, -1)})
    for name in PROJECTS:
        network = openstack.connect(cloud=name).network
        if not network.find_network("net"):
            net = network.create_network(name="net")
            network.create_subnet(network_id=net.id, ip_version=4, cidr="10.0.0.0/20", enable_dhcp=False)


def await_services(cloud: Any) -> None:
    """Wait until every service reports, and the hypervisor is known."""
    end = time.monotonic() + 400
    while True:
        try:
            found = call(cloud.block_storage, "get", "/os-services")["services"]
            up = {item["binary"] for item in found if item["state"] == "up"}
            up |= {service.binary for service in cloud.compute.services() if service.state == "up"}
            hosts = cloud.compute.get("/os-hypervisors", microversion="2.90").json().get("hypervisors")
        except exceptions.SDKException as error:
            up, hosts = {str(error)}, None
        wanted = {f"cinder-{name}" for name in ("scheduler", "volume", "backup")}
        wanted |= {f"nova-{name}" for name in ("conductor", "scheduler", "compute")}
        if wanted <= up and hosts:
            return
        if time.monotonic() > end:
            sys.exit(f"services do not come up: {wanted - up}")
        time.sleep(0.5)


def guest(cloud: Any, path: str) -> None:
    """Upload the guest's image twice: as it is, and demanding that Nova can freeze it."""
    known = {image.name for image in cloud.image.images()}
    for name, demands in (("guest", {}), ("guest-quiesce", {"os_require_quiesce": "yes"})):
        if name not in known:
            cloud.image.create_image(
                name,
                filename=path,
                disk_format="raw",
                container_format="bare",
                visibility="public",
                wait=True,
                hw_qemu_guest_agent="yes",
                **demands,
            )


def call(service: Any, method: str, path: str, body: Any = None) -> Any:
    """Make a call that the SDK has no method for."""
    answer = service.request(path, method.upper(), json=body, microversion="3.64")
    exceptions.raise_from_response(answer)
    return answer.json()


if __name__ == "__main__":
    {"identity": identity, "services": services, "guest": guest}[sys.argv[1]](
        openstack.connect("admin"), *sys.argv[2:]
    )
