"""Apply the library's own 0021_pages.sql, which changes indexes."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0020_handlers")]
    operations = [migrations.RunPython(apply(21))]
