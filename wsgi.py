"""gunicorn's door: settings in, Flask application out."""

from __future__ import annotations

import sys

from werkzeug.middleware.proxy_fix import ProxyFix

from app import logs
from app.api.application import create_app
from app.config import InvalidSettings, Settings

try:
    settings = Settings.load()
except InvalidSettings as error:
    # gunicorn takes 3 for "a worker cannot even boot" and stops instead of trying for ever.
    sys.stderr.write(f"Unbroken cannot start:\n{error}\n")
    sys.exit(3)

logs.configure(settings.log_level)
app = create_app(settings)
if settings.trusted_proxies:
    # Only as many hops as the operator vouches for: anything more a client could have written itself.
    hops = settings.trusted_proxies
    app.wsgi_app = ProxyFix(app.wsgi_app, x_for=hops, x_proto=hops, x_host=hops)  # type: ignore[method-assign]
