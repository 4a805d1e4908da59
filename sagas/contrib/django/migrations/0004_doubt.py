"""Apply the library's own 0004_doubt.sql: a table of what bodies record. Add the permission to resolve a doubt."""

from django.db import migrations

from sagas.contrib.django.schema import apply


class Migration(migrations.Migration):
    dependencies = [("celery_sagas", "0003_retention")]
    operations = [
        migrations.RunPython(apply(4)),
        migrations.AlterModelOptions(
            name="instance",
            options={
                "managed": False,
                "default_permissions": ("view",),
                "permissions": (
                    ("retry_instance", "Can let a failed saga go on"),
                    ("cancel_instance", "Can cancel a saga"),
                    ("skip_instance", "Can skip what a failed saga is stuck at"),
                    ("resolve_instance", "Can say whether a step in doubt happened, or was undone by hand"),
                ),
                "verbose_name": "saga instance",
            },
        ),
    ]
