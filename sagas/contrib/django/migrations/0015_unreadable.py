"""Apply the library's own 0015_unreadable.sql, which adds a column that no model reads, and its index."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0014_lists")]
    operations = [migrations.RunPython(apply(15))]
