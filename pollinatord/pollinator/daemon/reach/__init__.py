"""Ways to reach an executor: a process of this machine, a socket that others serve, a machine behind ssh."""
