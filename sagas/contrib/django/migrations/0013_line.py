"""Apply the library's own 0013_line.sql, which adds columns, an index and a table that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0012_neighbours")]
    operations = [migrations.RunPython(apply(13))]
