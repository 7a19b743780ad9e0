"""Serve one OpenStack WSGI application: ``serve.py PORT MODULE [ARGUMENT...]``, one process, eight threads.

gunicorn's own command line cannot be used: the modules of Cinder and Nova parse ``sys.argv`` when they are imported.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

from gunicorn.app.base import BaseApplication

PORT, MODULE, *ARGUMENTS = sys.argv[1:]
sys.argv = [MODULE, *ARGUMENTS]


class Server(BaseApplication):
    """gunicorn with the settings of the test bed."""

    def load_config(self) -> None:
        """Set what differs from the defaults."""
        settings = {
            "bind": f"127.0.0.1:{PORT}",
            "workers": 1,
            "threads": 8,
            "worker_class": "gthread",
            "timeout": 300,
            "graceful_timeout": 3,
            # Closing a connection just when a client uses it again would be an outage: idle ones are kept.
            "keepalive": 3600,
            "control_socket_disable": True,
            "limit_request_line": 0,  # Nova asks Neutron for the ports of a thousand servers in one line
        }
        for name, value in settings.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Import the application."""
        application = importlib.import_module(MODULE).application
        if MODULE.startswith("neutron"):
            # Without this Neutron 29 answers GET /ports with 500: its mappers are lazy and one table comes too late.
            import neutron.db.models.port_forwarding  # noqa: F401
            from sqlalchemy.orm import configure_mappers

            configure_mappers()
        return application


Server().run()
