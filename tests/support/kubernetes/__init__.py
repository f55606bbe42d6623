"""A double of a Kubernetes cluster: its API, its controllers, and kubelets that run containers for real."""
