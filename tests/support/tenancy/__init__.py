"""A Django project with a schema a tenant: django-tenants, and tenant-schemas-celery, whose app adds the schema's name.

    python -m tests.support.tenancy

prints what the steps of its sagas saw, as JSON. Django is configured once a process, so it has one of its own.
"""
