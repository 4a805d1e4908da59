"""The WSGI application. It also serves the admin's static files, which a real shop leaves to its web server."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.examples.django_shop.settings")

application = StaticFilesHandler(get_wsgi_application())
