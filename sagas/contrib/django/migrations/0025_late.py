"""Apply the library's own 0025_late.sql, which changes a constraint of the table of instances."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0024_depth")]
    operations = [migrations.RunPython(apply(25))]
