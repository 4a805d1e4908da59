"""Django's `manage.py`: `python -m config.examples.django_shop.manage migrate`."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.examples.django_shop.settings")
    execute_from_command_line(sys.argv)
