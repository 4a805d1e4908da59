"""A Django project with a schema per tenant: django-tenants and tenant-schemas-celery, whose app adds the schema's name

    python -m tests.support.tenancy

prints what the steps of its sagas saw, as JSON. Django is configured once per process, so it has its own.
"""
