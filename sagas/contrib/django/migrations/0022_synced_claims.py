"""Apply the library's own 0022_synced_claims.sql, which adds columns that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0021_pages")]
    operations = [migrations.RunPython(apply(22))]
