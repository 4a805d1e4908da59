"""Apply the library's own 0005_headers.sql, which adds a column that the model does not read."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0006_promises")]
    operations = [migrations.RunPython(apply(5))]
