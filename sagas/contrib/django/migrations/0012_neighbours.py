"""Apply the library's own 0012_neighbours.sql, which adds columns that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0010_parked")]
    operations = [migrations.RunPython(apply(12))]
