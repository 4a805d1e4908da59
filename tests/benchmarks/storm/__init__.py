"""What a backlog costs after an outage: the same sagas, drained plainly and drained after a blow."""
