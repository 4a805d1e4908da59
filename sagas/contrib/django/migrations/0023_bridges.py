"""Apply the library's own 0023_bridges.sql, which adds tables that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0022_synced_claims")]
    operations = [migrations.RunPython(apply(23))]
