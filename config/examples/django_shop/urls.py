"""The shop's addresses."""

from django.contrib import admin
from django.urls import path

from config.examples.django_shop import views

urlpatterns = [
    path("", views.page),
    path("orders", views.place),
    path("orders/<str:order_id>", views.progress),
    path("orders/<str:order_id>/events", views.events),
    path("orders/<str:order_id>/why", views.why),
    path("orders/<str:order_id>/wait", views.wait),
    path("orders/<str:order_id>/cancel", views.cancel),
    path("sagas/<uuid:saga_id>", views.saga_progress),
    path("admin/", admin.site.urls),
]
handler404 = views.not_found
