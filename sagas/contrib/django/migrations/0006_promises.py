"""Apply the library's own 0006_promises.sql, which adds what deadlines, retries and waiting for a person need."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0007_limits")]
    operations = [migrations.RunPython(apply(6))]
