"""The shop's own table of orders. The saga has their progress."""

from django.db import models


class Order(models.Model):
    """An order as it was placed."""

    id = models.TextField(primary_key=True)
    sku = models.TextField()
    quantity = models.IntegerField()
    total = models.DecimalField(max_digits=12, decimal_places=2)
    placed_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "shop_order"

    def __str__(self) -> str:
        return f"{self.quantity} × {self.sku} ({self.id})"
