"""The client of IonQ's cloud: connections, endpoints, jobs, and the values that it answers with."""
