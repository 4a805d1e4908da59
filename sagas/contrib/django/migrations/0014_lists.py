"""Apply the library's own 0014_lists.sql, which adds a column that no model reads, and indexes."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0013_line")]
    operations = [migrations.RunPython(apply(14))]
