"""Apply the library's own 0003_retention.sql, which adds an index."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0002_shapes")]
    operations = [migrations.RunPython(apply(3))]
