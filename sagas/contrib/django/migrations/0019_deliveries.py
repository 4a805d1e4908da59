"""Apply the library's own 0019_deliveries.sql, which changes indexes."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0018_quiet")]
    operations = [migrations.RunPython(apply(19))]
