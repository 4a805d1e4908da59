"""Apply the library's own 0009_release.sql, which adds a column."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0004_doubt")]
    operations = [migrations.RunPython(apply(9))]
