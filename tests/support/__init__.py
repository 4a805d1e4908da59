"""What several tests share: an application whose steps follow a script, its journal, and real workers."""
