"""What sagas cost, beside a bare chain and beside others: measured on real servers, asserted nowhere."""
