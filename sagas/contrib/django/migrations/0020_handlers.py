"""Apply the library's own 0020_handlers.sql, which adds tables that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0019_deliveries")]
    operations = [migrations.RunPython(apply(20))]
