"""Apply the library's own 0017_causes.sql, which adds columns that no model reads."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0016_choreography")]
    operations = [migrations.RunPython(apply(17))]
