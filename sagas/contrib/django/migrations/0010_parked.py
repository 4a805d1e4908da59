"""Apply the library's own 0010_parked.sql, which adds two columns."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0005_headers")]
    operations = [migrations.RunPython(apply(10))]
