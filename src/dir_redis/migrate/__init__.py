"""Moving a store's records to another backend, beneath the Protocols."""
