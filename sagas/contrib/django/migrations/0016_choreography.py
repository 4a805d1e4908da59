"""Apply the library's own 0016_choreography.sql, which adds columns that no model reads, constraints and indexes."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0015_unreadable")]
    operations = [migrations.RunPython(apply(16))]
