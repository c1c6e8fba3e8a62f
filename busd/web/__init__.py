"""The rider's side: pages, JSON doors and a websocket, on one aiohttp application.

``create_app(services)`` builds it, ``start_web(config, services)`` serves it. The rooms behind it are in `WebServices`.
"""

from busd.web.server import WebServer, create_app, start_web
from busd.web.services import WebServices

__all__ = ["WebServer", "WebServices", "create_app", "start_web"]
