"""The door to Kubernetes: every operation is a playbook.

`runner` runs one in a worker process, `failures` names what went wrong, `kubeconfig` makes a credential safe
to use. Request data reaches a playbook only through a file that it reads, never as a variable or a template.
"""
