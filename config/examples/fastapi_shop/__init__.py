"""The shop in FastAPI, on plain SQLAlchemy."""
