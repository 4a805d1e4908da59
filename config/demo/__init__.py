"""The demo: its stories, the faults that it injects into the services, and the books that it audits."""
