"""Apply the library's own 0018_quiet.sql, which adds columns that no model reads, and indexes."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0017_causes")]
    operations = [migrations.RunPython(apply(18))]
