from django.db import models


class Order(models.Model):
    """The business row that a saga commits together with."""

    id = models.CharField(primary_key=True, max_length=100)
    sku = models.CharField(max_length=100)
    state = models.CharField(max_length=20, default="placed")

    def __str__(self) -> str:
        return self.id
