"""The tables as of the library's own 0001_initial.sql, and the model that reads them."""

from django.db import migrations, models

from sagas.contrib.django.schema import apply, table


class Migration(migrations.Migration):
    initial = True
    operations = [
        migrations.RunPython(apply(1)),
        migrations.CreateModel(
            name="Instance",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("saga", models.TextField()),
                ("version", models.IntegerField()),
                ("key", models.TextField(null=True)),
                (
                    "status",
                    models.TextField(
                        choices=[
                            ("pending", "pending"),
                            ("running", "running"),
                            ("completed", "completed"),
                            ("compensating", "compensating"),
                            ("compensated", "compensated"),
                            ("failed", "failed"),
                        ]
                    ),
                ),
                ("created_at", models.DateTimeField(verbose_name="started")),
                ("updated_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(null=True, verbose_name="finished")),
                ("due_at", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "saga instance",
                "db_table": table("saga_instance"),
                "permissions": (
                    ("retry_instance", "Can let a failed saga go on"),
                    ("cancel_instance", "Can cancel a saga"),
                    ("skip_instance", "Can skip what a failed saga is stuck at"),
                ),
                "managed": False,
                "default_permissions": ("view",),
            },
        ),
    ]
