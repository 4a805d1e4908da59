from django.apps import apps
from django.contrib import admin
from django.urls import path

from tests.django_project.shop import views

urlpatterns = [
    path("orders/", views.place),
    path("orders/bare/", views.place_bare),
    path("orders/<str:order_id>/events/", views.events),
]
if apps.is_installed("django.contrib.admin"):
    urlpatterns.append(path("admin/", admin.site.urls))
