"""What a WSGI server runs. The admin's static files come from here too, which a real shop leaves to its web server."""

import os

from django.contrib.staticfiles.handlers import StaticFilesHandler
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.examples.django_shop.settings")

application = StaticFilesHandler(get_wsgi_application())
