"""Apply the library's own 0002_shapes.sql, of which the model reads nothing."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0001_initial")]
    operations = [migrations.RunPython(apply(2))]
