"""The executor that runs jobs in a Kubernetes cluster."""
