"""gunicorn's door: settings in, Flask application out."""

from __future__ import annotations

import sys

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
