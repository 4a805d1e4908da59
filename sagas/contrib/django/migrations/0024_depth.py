"""Apply the library's own 0024_depth.sql, which adds a column that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0023_bridges")]
    operations = [migrations.RunPython(apply(24))]
