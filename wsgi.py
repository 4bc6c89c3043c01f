"""The module that gunicorn imports: it reads the settings and builds the Flask application."""

from __future__ import annotations

import sys

from werkzeug.middleware.proxy_fix import ProxyFix

from app import logs
from app.api.application import create_app
from app.config import InvalidSettings, Settings
from app.log_lines import one_line
from app.ops.startup import log_warnings, reasons

try:
    settings = Settings.load()
except InvalidSettings as error:
    # gunicorn stops at exit code 3 (WORKER_BOOT_ERROR) instead of starting workers again and again.
    sys.stderr.write(f"Unbroken cannot start: {one_line(error)}\n")
    sys.exit(3)

logs.configure(settings.log_level)
if reason := reasons(settings, sees_everybody=False):
    sys.stderr.write(f"Unbroken cannot start: {reason}\n")
    sys.exit(3)
log_warnings(settings)
app = create_app(settings)
if settings.trusted_proxies:
    # Only the hops of the operator's proxies are trusted: a client can write further entries itself.
    hops = settings.trusted_proxies
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
