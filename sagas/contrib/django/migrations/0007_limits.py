"""Apply the library's own 0007_limits.sql, which adds columns of limits and polls."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0009_release")]
    operations = [migrations.RunPython(apply(7))]
